"""What is wrong with a request is answered by a Status with the code and reason that clients of Kubernetes know."""

from __future__ import annotations

import http.client
import json
from typing import Any

import pytest

from octoedge.testing.apiserver import ApiServerProcess

JSON = "application/json"
YAML = "application/yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
MAPS = "/api/v1/namespaces/{ns}/configmaps"
ONE = f"{MAPS}/c"

DEEP = b'{"a":' * 20_000 + b"1" + b"}" * 20_000
DEEP_LIST = b"[" * 100_000 + b"]" * 100_000
DEEP_YAML = b"a: " + b"[" * 5_000 + b"]" * 5_000
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n"
COPIES = json.dumps([{"op": "copy", "from": "/data", "path": f"/data/x{n}"} for n in range(60)]).encode()
NESTING = json.dumps(
    [{"op": "add", "path": "/data", "value": {}}]
    + [{"op": "add", "path": "/data" + "/a" * n, "value": {}} for n in range(1, 600)]
).encode()
HUGE_NUMBER = b'{"metadata":{"name":"x","generation":' + b"9" * 5_000 + b"}}"

WRONG: dict[str, tuple[str, str, bytes, str, int, str, str]] = {
    "not JSON": ("POST", MAPS, b"{", JSON, 400, "BadRequest", "json parse error"),
    "not YAML": ("POST", MAPS, b"a: [", YAML, 400, "BadRequest", "error converting YAML to JSON"),
    "not UTF-8": ("POST", MAPS, b'{"metadata":{"name":"\xff\xfe"}}', JSON, 400, "BadRequest", "json parse error"),
    "half a surrogate": ("POST", MAPS, b'{"metadata":{"name":"\\ud800"}}', JSON, 400, "BadRequest", ""),
    "not an object": ("POST", MAPS, b"[1]", JSON, 400, "BadRequest", "not a JSON object"),
    "empty": ("POST", MAPS, b"", JSON, 400, "BadRequest", ""),
    "another kind": ("POST", MAPS, b'{"kind":"Pod","apiVersion":"v1"}', JSON, 400, "BadRequest", "cannot be handled"),
    "wrong type": ("POST", MAPS, b'{"data":{"a":{}}}', JSON, 400, "BadRequest", "cannot unmarshal object into Go"),
    "metadata no object": ("POST", MAPS, b'{"metadata":[]}', JSON, 400, "BadRequest", "cannot unmarshal array into Go"),
    "name no text": ("POST", MAPS, b'{"metadata":{"name":1}}', JSON, 400, "BadRequest", "cannot unmarshal number"),
    "label no text": ("POST", MAPS, b'{"metadata":{"labels":{"a":1}}}', JSON, 400, "BadRequest", "cannot unmarshal"),
    "no name": ("POST", MAPS, b"{}", JSON, 422, "Invalid", "name or generateName is required"),
    "bad name": ("POST", MAPS, b'{"metadata":{"name":"../x"}}', JSON, 422, "Invalid", "may not contain '/'"),
    "name with NUL": ("POST", MAPS, b'{"metadata":{"name":"a\\u0000"}}', JSON, 422, "Invalid", "RFC 1123"),
    "elsewhere": ("POST", MAPS, b'{"metadata":{"name":"x","namespace":"y"}}', JSON, 400, "BadRequest", "namespace"),
    "unknown format": ("POST", MAPS, b"<a/>", "text/xml", 415, "UnsupportedMediaType", "application/json"),
    "unknown field": ("POST", MAPS + "?fieldValidation=Strict", b'{"metadata":{"name":"x"},"z":1}', JSON, 400,
                      "BadRequest", 'unknown field "z"'),
    "unknown validation": ("POST", MAPS + "?fieldValidation=No", b'{"metadata":{"name":"x"}}', JSON, 400, "BadRequest",
                           "fieldValidation"),
    "unknown dry run": ("POST", MAPS + "?dryRun=Some", b'{"metadata":{"name":"x"}}', JSON, 400, "BadRequest", "dryRun"),
    "too large": ("POST", MAPS, b" " * (3 << 20) + b"{}", JSON, 413, "RequestEntityTooLarge", "limit is 3145728"),
    "too much data": ("POST", MAPS, b'{"metadata":{"name":"x"},"data":{"a":"x' + b"x" * (1 << 20) + b'"}}', JSON,
                      422, "Invalid", "Too long: may not be more than 1048576 bytes"),
    "deep": ("POST", MAPS, DEEP, JSON, 400, "BadRequest", ""),
    "deep list": ("POST", MAPS, DEEP_LIST, JSON, 400, "BadRequest", ""),
    "deep YAML": ("POST", MAPS, DEEP_YAML, YAML, 400, "BadRequest", ""),
    "large YAML": ("POST", MAPS, b"a: b\n" * 60_000, YAML, 413, "RequestEntityTooLarge", "send it as JSON"),
    "YAML bomb": ("POST", MAPS, BOMB, YAML, 400, "BadRequest", "aliases"),
    "YAML tags": ("POST", MAPS, b"a: !!python/object/apply:os.system [id]", YAML, 400, "BadRequest", "YAML"),
    "huge number": ("POST", MAPS, HUGE_NUMBER, JSON, 400, "BadRequest", ""),
    "no number": ("POST", MAPS, b'{"metadata":{"name":"x","generation":NaN}}', JSON, 400, "BadRequest", ""),
    "protobuf of nothing": ("POST", MAPS, b"k8s\0\xff\xff\xff", "application/vnd.kubernetes.protobuf", 400,
                            "BadRequest", ""),
    "stale": ("PUT", ONE, b'{"metadata":{"name":"c","resourceVersion":"1"}}', JSON, 409, "Conflict",
              "the object has been modified; please apply your changes to the latest version and try again"),
    "another uid": ("PUT", ONE, b'{"metadata":{"name":"c","uid":"x"}}', JSON, 409, "Conflict", "UID in precondition"),
    "another name": ("PUT", ONE, b'{"metadata":{"name":"d"}}', JSON, 400, "BadRequest", "does not match the name"),
    "put nowhere": ("PUT", MAPS + "/none", b'{"metadata":{"name":"none"}}', JSON, 404, "NotFound", '"none" not found'),
    "patch nowhere": ("PATCH", MAPS + "/none", b"{}", MERGE, 404, "NotFound", '"none" not found'),
    "patch no object": ("PATCH", ONE, b"[]", MERGE, 400, "BadRequest", ""),
    "patch to nothing": ("PATCH", ONE, b"null", MERGE, 400, "BadRequest", ""),
    "patch of the kind": ("PATCH", ONE, b'{"data":{"a":1}}', MERGE, 400, "BadRequest", "cannot unmarshal number"),
    "patch in no form": ("PATCH", ONE, b"{}", JSON, 415, "UnsupportedMediaType", JSON_PATCH),
    "deep patch": ("PATCH", ONE, DEEP, MERGE, 400, "BadRequest", ""),
    "deep strategic patch": ("PATCH", ONE, b'{"data":' * 500 + b"1" + b"}" * 500, STRATEGIC, 400, "BadRequest", ""),
    "unknown directive": ("PATCH", ONE, b'{"$patch":"burn"}', STRATEGIC, 400, "BadRequest", "directive"),
    "no list of operations": ("PATCH", ONE, b"{}", JSON_PATCH, 400, "BadRequest", "list of operations"),
    "unknown operation": ("PATCH", ONE, b'[{"op":"burn","path":"/a"}]', JSON_PATCH, 400, "BadRequest", "unknown op"),
    "failed test": ("PATCH", ONE, b'[{"op":"test","path":"/data/a","value":"2"}]', JSON_PATCH, 422, "Invalid",
                    "the server rejected our request due to an error in our request"),
    "no such place": ("PATCH", ONE, b'[{"op":"remove","path":"/data/none"}]', JSON_PATCH, 422, "Invalid", ""),
    "no pointer": ("PATCH", ONE, b'[{"op":"remove","path":"data"}]', JSON_PATCH, 422, "Invalid", ""),
    "the whole away": ("PATCH", ONE, b'[{"op":"remove","path":""}]', JSON_PATCH, 422, "Invalid", ""),
    "too many operations": ("PATCH", ONE, b"[" + b",".join([b'{"op":"test","path":""}'] * 10_001) + b"]", JSON_PATCH,
                            413, "RequestEntityTooLarge", "10000"),
    "deeper and deeper": ("PATCH", ONE, NESTING, JSON_PATCH, 400, "BadRequest", ""),
    "growing copies": ("PATCH", ONE, COPIES, JSON_PATCH, 413, "RequestEntityTooLarge", "copies"),
    "apply by nobody": ("PATCH", ONE, b"{}", APPLY, 422, "Invalid", "fieldManager: Required value"),
    "apply another": ("PATCH", ONE + "?fieldManager=m", b'{"metadata":{"name":"d"}}', APPLY, 400, "BadRequest", "name"),
    "apply in no YAML": ("PATCH", ONE + "?fieldManager=m", b"a: [", APPLY, 400, "BadRequest", "YAML"),
    "no method": ("PUT", MAPS, b"{}", JSON, 405, "MethodNotAllowed", "does not allow this method"),
    "strange method": ("TRACE", ONE, b"", JSON, 405, "MethodNotAllowed", "does not allow this method"),
    "no kind": ("GET", "/api/v1/namespaces/{ns}/nothings", b"", JSON, 404, "NotFound", "could not find the requested"),
    "no subresource": ("GET", ONE + "/status", b"", JSON, 404, "NotFound", "could not find the requested"),
    "no group": ("GET", "/apis/no.such/v1/things", b"", JSON, 404, "NotFound", ""),
    "no namespace": ("POST", "/api/v1/namespaces/none/configmaps", b'{"metadata":{"name":"x"}}', JSON, 404, "NotFound",
                     'namespaces "none" not found'),
    "no number as limit": ("GET", MAPS + "?limit=many", b"", JSON, 400, "BadRequest", "limit"),
    "no continue token": ("GET", MAPS + "?limit=1&continue=%21%21", b"", JSON, 400, "BadRequest", "continue"),
    "no version": ("GET", MAPS + "?resourceVersion=x&watch=true", b"", JSON, 400, "BadRequest", "resourceVersion"),
    "no label selector": ("GET", MAPS + "?labelSelector=a%20in%20b", b"", JSON, 400, "BadRequest", ""),
    "no field selector": ("GET", MAPS + "?fieldSelector=a", b"", JSON, 400, "BadRequest", ""),
    "unknown field to select by": ("GET", MAPS + "?fieldSelector=data.a%3Db", b"", JSON, 400, "BadRequest",
                                   "field label not supported: data.a"),
    "no time": ("GET", MAPS + "?watch=true&timeoutSeconds=soon", b"", JSON, 400, "BadRequest", "timeoutSeconds"),
    "no grace": ("DELETE", ONE + "?gracePeriodSeconds=soon", b"", JSON, 400, "BadRequest", "gracePeriodSeconds"),
    "no policy": ("DELETE", ONE + "?propagationPolicy=Away", b"", JSON, 400, "BadRequest", "propagationPolicy"),
    "another uid to delete": ("DELETE", ONE, b'{"preconditions":{"uid":"x"}}', JSON, 409, "Conflict", "Precondition"),
    "delete with a Pod": ("DELETE", ONE, b'{"kind":"Pod"}', JSON, 400, "BadRequest", "DeleteOptions"),
    "delete nothing": ("DELETE", MAPS + "/none", b"", JSON, 404, "NotFound", '"none" not found'),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(server: ApiServerProcess) -> str:
    """A namespace with the ConfigMap that bad requests are about."""
    server.ask("POST", "/api/v1/namespaces", {"metadata": {"name": "bad"}})
    server.ask("POST", MAPS.format(ns="bad"), {"metadata": {"name": "c"}, "data": {"a": "1"}})
    return "bad"


@pytest.mark.parametrize("name", WRONG)
def test_bad_request(server: ApiServerProcess, place: str, name: str) -> None:
    method, path, body, media_type, code, reason, said = WRONG[name]
    answer = server.send(method, path.format(ns=place), body, media_type)
    assert (answer.code, answer.body["kind"], answer.body["reason"]) == (code, "Status", reason), answer.body
    assert answer.body["code"] == code
    assert said in answer.body["message"]
    assert len(answer.body["message"]) < 4096
    assert server.ask("GET", ONE.format(ns=place)).body["data"] == {"a": "1"}


@pytest.mark.parametrize(
    ("size", "codes"), [(8_000, (200, 400)), (200_000, (400, 414, 431)), (3_000_000, (400, 414, 431))]
)
def test_long_addresses(server: ApiServerProcess, place: str, size: int, codes: tuple[int, ...]) -> None:
    try:
        answer = server.send("GET", f"{MAPS.format(ns=place)}?labelSelector=a%21%3D{'x' * size}", None)
    except (http.client.HTTPException, OSError):
        answer = None  # it hung up in the middle of the address
    assert answer is None or answer.code in codes, answer
    assert server.ask("GET", "/readyz").code == 200


def test_unknown_fields_are_warned_of_unless_they_are_to_be_ignored(server: ApiServerProcess, place: str) -> None:
    body = {"metadata": {"name": "w"}, "bogus": 1, "data": {"a": "b"}}
    path = f"{MAPS.format(ns=place)}?dryRun=All"
    warned = server.ask("POST", path, body)
    assert (warned.code, warned.headers["Warning"]) == (201, '299 - "unknown field \\"bogus\\""')
    assert "bogus" not in warned.body
    ignored = server.ask("POST", f"{path}&fieldValidation=Ignore", body)
    assert (ignored.code, ignored.headers["Warning"]) == (201, None)


def test_what_is_kept_but_not_acted_on_is_told(server: ApiServerProcess, place: str) -> None:
    target = {"kind": "Deployment", "name": "d"}
    scaler: dict[str, Any] = {"metadata": {"name": "h"}, "spec": {"scaleTargetRef": target, "maxReplicas": 2}}
    for version in ("v1", "v2"):
        path = f"/apis/autoscaling/{version}/namespaces/{place}/horizontalpodautoscalers?dryRun=All"
        made = server.ask("POST", path, scaler)
        assert made.body["apiVersion"] == f"autoscaling/{version}"
        assert made.headers["Warning"] == '299 - "this API server keeps the object, but nothing scales by it"'
