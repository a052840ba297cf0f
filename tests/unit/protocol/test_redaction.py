"""Nothing that is secret is in a capture: by field, by name, by form, and by having been seen in a Secret."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.redaction import Redactor

KEY = b"0123456789abcdef"
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3OTUzMTUxNTJ9.QItQRXUhzwTrowdpgSi-bRGMgOSC"
PEM = "-----BEGIN CERTIFICATE-----\nMIIBeTCCAR+gAwIBAgICBAAw\nCgYIKoZIzj0EAwIw\n-----END CERTIFICATE-----\n"


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def redacted(value: Any, *, secret: bool = False) -> Any:
    return msgspec.json.decode(Redactor(KEY).document(msgspec.json.encode(value), secret=secret))


def secret(**data: str) -> dict[str, Any]:
    return {"kind": "Secret", "metadata": {"name": "s"}, "data": {key: b64(value) for key, value in data.items()}}


def test_the_data_of_a_secret_goes_and_its_length_and_form_stay() -> None:
    made = redacted(secret(user="admin", password="correct horse"))
    assert made["metadata"] == {"name": "s"}
    user, password = (base64.b64decode(made["data"][key]) for key in ("user", "password"))
    assert (len(user), len(password)) == (5, 13)
    assert user != b"admin"
    assert password != b"correct horse"


def test_the_same_value_has_the_same_placeholder_in_one_capture_and_another_in_the_next() -> None:
    one, other = Redactor(KEY), Redactor(b"another key of 16")
    assert one.placeholder("hunter2") == one.placeholder("hunter2") != one.placeholder("hunter3")
    assert one.placeholder("hunter2") != other.placeholder("hunter2")
    assert one.placeholder("a very long value of a secret").startswith("redacted-")


@pytest.mark.parametrize(
    ("value", "gone"),
    [
        ({"stringData": {"a": "plain text"}}, "plain text"),
        ({"data": {"a": {"b": ["deep inside"]}}}, "deep inside"),
        ({"kind": "SecretList", "items": [{"data": {"a": b64("in a list")}}]}, b64("in a list")),
    ],
)
def test_whatever_is_about_secrets_by_its_path(value: Any, gone: str) -> None:
    assert gone not in str(redacted(value, secret=True))


@pytest.mark.parametrize(
    ("value", "gone"),
    [
        ({"status": {"token": JWT}}, JWT),
        ({"text": f"see {JWT}, please"}, JWT),
        ({"header": "Authorization: Bearer abc.def-123"}, "abc.def-123"),
        ({"data": {"ca.crt": PEM}}, "MIIBeTCCAR"),
        ({"caBundle": b64(PEM)}, b64(PEM)),
        ({"spec": {"request": b64(PEM), "signerName": "x"}}, b64(PEM)),
        ({"password": "swordfish"}, "swordfish"),
        ({"dbPassword": "swordfish"}, "swordfish"),
        ({"client-key-data": "swordfish"}, "swordfish"),
        ({"tokens": ["swordfish", "tunafish"]}, "tunafish"),
        ({"env": [{"name": "DB_PASS", "value": "swordfish"}]}, "swordfish"),
        ({"env": [{"name": "X", "value": "0a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5d"}]}, "0a1b2c3d4e5f"),
        ({"env": [{"name": "URL", "value": "postgres://joe:swordfish@db/x"}]}, "swordfish"),
        ({"args": ["--token", "--password=swordfish"]}, "swordfish"),
        ({"command": ["sh", "-c", "login --password swordfish"]}, "swordfish"),
        ({"args": ["--api-key", "swordfish"]}, "swordfish"),
        ({"data": {"app.ini": "[db]\npassword = swordfish\n"}}, "swordfish"),
        ({"metadata": {"annotations": {"last-applied": '{"kind":"Secret","data":{"a":"c3dvcmRmaXNo"}}'}}}, "c3dvcmRm"),
        ({"Key": "/core/v1/secrets/d/n", "ReqBody": b64('{"data":{"a":"c3dvcmRmaXNo"}}')}, "jM2R2Y21SbWFYTm8"),
        ({"data": {"app.yaml": 'password: "tuna, trout and swordfish"\n'}}, "swordfish"),
        ({"data": {"app.yaml": "password: 'tuna and swordfish'\n"}}, "swordfish"),
        ({"data": {"app.yaml": "password: |-\n  tuna\n  swordfish\nuser: joe\n"}}, "swordfish"),
        ({"data": {"app.xml": "<db><password>tuna swordfish</password></db>"}}, "swordfish"),
        ({"configData": {"password": 93781}}, "93781"),
    ],
)
def test_secrets_by_name_and_form(value: Any, gone: str) -> None:
    said = str(redacted(value))
    assert gone not in said
    assert gone in str(value)


def test_what_an_application_carries_in_base64_is_looked_into() -> None:
    inner = msgspec.json.encode({"kind": "Secret", "data": {"a": b64("swordfish")}})
    made = redacted({"Key": "/core/v1/configmaps/d/n", "RespBody": b64(inner)})
    answer = msgspec.json.decode(base64.b64decode(made["RespBody"]))
    assert answer["kind"] == "Secret"
    assert b64("swordfish") not in str(answer)


@pytest.mark.parametrize(
    "body",
    [
        b'{\n  "kind": "Secret", "stringData": {"a": "swordfish"}\n}',
        b"kind: Secret\nstringData:\n  a: swordfish\n",
        b"k8s\x00\n\x0c\n\x02v1\x12\x06Secret\x12\x10\x0a\x00\x12\x0c\x0a\x01a\x12\x09swordfish",
    ],
    ids=["JSON with lines", "YAML", "protobuf"],
)
@pytest.mark.parametrize("key", ["/core/v1/secrets/d/n", "/core/v1/configmaps/d/n"])
def test_bodies_of_any_form_in_an_application_keep_no_secret(body: bytes, key: str) -> None:
    patch = msgspec.json.encode({"PatchType": "application/apply-patch+yaml", "Data": b64(body)})
    made = redacted({"Key": key, "ReqBody": b64(body), "RespBody": b64(body), "Option": b64(patch)})
    shown = [made["ReqBody"], made["RespBody"], msgspec.json.decode(base64.b64decode(made["Option"]))["Data"]]
    assert all(b"swordfish" not in base64.b64decode(one) for one in shown)
    assert all(len(one) % 4 == 0 for one in shown)


def test_a_json_patch_of_a_secret_keeps_its_place_and_not_its_value() -> None:
    steps = [
        {"op": "add", "path": "/data/a", "value": b64("swordfish")},
        {"op": "add", "path": "/data", "value": {"b": b64("swordfish")}},
    ]
    patch = msgspec.json.encode({"PatchType": "application/json-patch+json", "Data": b64(msgspec.json.encode(steps))})
    made = redacted({"Key": "/core/v1/secrets/d/n", "Option": b64(patch)})
    data = base64.b64decode(msgspec.json.decode(base64.b64decode(made["Option"]))["Data"])
    assert b64("swordfish").encode() not in data
    assert [step["path"] for step in msgspec.json.decode(data)] == ["/data/a", "/data"]


def test_what_is_no_secret_stays_as_it_is() -> None:
    pod = {
        "kind": "Pod",
        "metadata": {"name": "token-reader", "uid": "6a3f8a50-3f0f-4e0e-9d0a-7f4b0c9c1d2e", "resourceVersion": "12"},
        "spec": {
            "serviceAccountName": "default",
            "automountServiceAccountToken": True,
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [
                {
                    "name": "web",
                    "image": "registry.example/web@sha256:" + "ab12" * 16,
                    "env": [
                        {"name": "MODE", "value": "fast"},
                        {"name": "DB_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
                    ],
                }
            ],
            "volumes": [{"name": "v", "secret": {"secretName": "db", "items": [{"key": "ca.crt", "path": "ca"}]}}],
        },
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z"},
    }
    assert redacted(pod) == pod


def test_what_was_seen_in_a_secret_is_found_wherever_it_comes_later() -> None:
    redactor = Redactor(KEY)
    redactor.document(msgspec.json.encode(secret(a="tr0ub4dor", word="postgres")))
    later = redactor.document(b'{"message": "cannot log in with tr0ub4dor", "image": "postgres:16"}')
    assert b"tr0ub4dor" not in later
    assert b"postgres:16" in later, "a word that half of all objects hold is not looked for"


def test_a_message_is_about_secrets_by_its_path() -> None:
    message = Message(
        Header(msg_id="1"), Route(source="edgecontroller", operation="update", resource="default/secret/db"),
        msgspec.Raw(b'{"metadata":{"name":"db"},"data":{"a":"c3dvcmRmaXNo"}}'),
    )  # fmt: skip
    made = Redactor(KEY).message(message)
    assert made.route == message.route
    assert b"c3dvcmRm" not in bytes(made.content)


def test_a_patch_in_a_string_is_looked_into() -> None:
    patch = msgspec.json.encode('{"status":{"message":"password: swordfish"}}')
    message = Message(Header(msg_id="1"), Route(operation="patch", resource="d/podpatch/p"), msgspec.Raw(patch))
    assert b"swordfish" not in bytes(Redactor(KEY).message(message).content)


def test_headers_that_nobody_knows_say_nothing() -> None:
    made = Redactor(KEY).headers(
        {"node_id": "edge-1", "authorization": "Bearer xyz", "octoedge-speaks": "acks", "date": "x"}
    )
    assert "date" not in made
    assert made["node_id"] == "edge-1"
    assert made["octoedge-speaks"] == "acks"
    assert "xyz" not in made["authorization"]


def test_what_is_no_document_is_nothing_but_its_length() -> None:
    assert len(msgspec.json.decode(Redactor(KEY).document(b"\xff{ not json"))) == 11


values = st.text(st.characters(codec="ascii", min_codepoint=33), min_size=6, max_size=60)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), values, min_size=1, max_size=4), json)
def test_nothing_of_a_secret_is_left(data: dict[str, str], rest: Any) -> None:
    made = str(redacted({"Object": {**secret(), "data": {k: b64(v) for k, v in data.items()}, "x": None}, "r": 1}))
    assert all(value not in made and b64(value) not in made for value in data.values())
    plain = str(redacted({"kind": "Secret", "stringData": data, "spec": rest})["stringData"].values())
    assert all(value not in plain for value in data.values())


@given(json)
def test_any_document_stays_a_document_of_its_shape(value: Any) -> None:
    def shape(one: Any) -> Any:
        if isinstance(one, dict):
            return {key: shape(inner) for key, inner in one.items()}
        return [shape(inner) for inner in one] if isinstance(one, list) else type(one)

    assert shape(redacted(value)) == shape(value)


@given(st.text(max_size=300))
def test_a_placeholder_is_as_long_as_what_it_stands_for(text: str) -> None:
    made = Redactor(KEY).placeholder(text)
    assert len(made) == len(text)
    assert made != text or not text
