"""Who holds a node's certificate tries every verb on every kind of another node, by every road but the channel's own.

The API server is a real process with its node authorizer and default roles. The channel's rows are tried in
`unit/cloud/edgecontroller/test_stolen_certificate.py`.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.cloud.cloudstream.tunnel import Tunnel
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.kube.access import kubeconfig
from octoedge.kube.client import Client
from octoedge.pki import x509
from octoedge.protocol import application as a
from octoedge.protocol import payloads as p
from octoedge.protocol.handshake import certificate_name
from octoedge.protocol.tunnel import Answer, Connector, Kind, encode, encode_answer
from octoedge.testing import clock
from octoedge.testing.apiserver import ApiServerProcess
from octoedge.testing.dynamiclink import NODE, DynamicLink
from octoedge.testing.metaserver import Site, play
from octoedge.transport.connection import Peer
from octoedge.transport.http_server import Request
from octoedge.transport.memory import pair

Json = dict[str, Any]
THEIRS = "edge-2"
_, REQUEST = x509.new_node_request(THEIRS)
SPECS: dict[str, Json] = {
    "pods": {"nodeName": THEIRS, "containers": [{"name": "c", "image": "i"}]},
    "certificatesigningrequests": {
        "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
        "request": base64.b64encode(
            b"-----BEGIN CERTIFICATE REQUEST-----\n"
            + base64.encodebytes(REQUEST)
            + b"-----END CERTIFICATE REQUEST-----\n"
        ).decode(),
        "usages": ["digital signature", "client auth"],
    },
}
READ, WRITTEN = ("get", "list", "watch", a.FOLLOW), ("create", "update", "patch")
AS_IN_KUBERNETES = {"certificatesigningrequests": READ, "events": WRITTEN}
"""What its role system:node lets every node do: see who asks for certificates, and tell of what happens."""


@dataclass(frozen=True)
class Place:
    """Where an object of another node is."""

    group: str
    version: str
    plural: str
    namespace: str = "default"
    name: str = "theirs"
    subresources: tuple[str, ...] = ("status",)

    @property
    def key(self) -> a.Key:
        return a.Key(self.group, self.version, self.plural, self.namespace, self.name)

    def body(self, name: str) -> bytes:
        """What would be written: of the other node, where a kind says whose it is."""
        about = {"name": name, "namespace": self.namespace} if self.namespace else {"name": name}
        return msgspec.json.encode({"metadata": about, "spec": SPECS.get(self.plural, {})})


PLACES = (
    Place("", "v1", "nodes", "", THEIRS, ("status", "proxy")),
    Place("", "v1", "pods", "default", "theirs",
          ("status", "eviction", "binding", "log", "exec", "attach", "portforward", "ephemeralcontainers", "resize")),
    Place("", "v1", "secrets"),
    Place("", "v1", "configmaps"),
    Place("", "v1", "serviceaccounts", "default", "theirs", ("token",)),
    Place("", "v1", "persistentvolumeclaims"),
    Place("", "v1", "persistentvolumes", ""),
    Place("", "v1", "namespaces", "", "default", ("status", "finalize")),
    Place("", "v1", "events"),
    Place("apps", "v1", "deployments", "default", "theirs", ("status", "scale")),
    Place("apps", "v1", "daemonsets"),
    Place("coordination.k8s.io", "v1", "leases", "kube-node-lease", THEIRS, ()),
    Place("certificates.k8s.io", "v1", "certificatesigningrequests", "", "theirs", ("approval", "status")),
    Place("storage.k8s.io", "v1", "volumeattachments", ""),
    Place("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "", "theirs", ()),
    Place("rbac.authorization.k8s.io", "v1", "rolebindings", "default", "theirs", ()),
    Place("devices.kubeedge.io", "v1beta1", "devices"),
    Place("policy.kubeedge.io", "v1alpha1", "serviceaccountaccesses"),
)  # fmt: skip
OBJECTS: tuple[tuple[str, Json], ...] = (
    ("/api/v1/nodes", {"metadata": {"name": THEIRS, "labels": {"node-role.kubernetes.io/edge": ""}}}),
    ("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "theirs"}}),
    ("/api/v1/namespaces/default/secrets", {"metadata": {"name": "theirs"}, "stringData": {"a": "hidden"}}),
    ("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "theirs"}, "data": {"a": "hidden"}}),
    ("/api/v1/namespaces/default/pods", {
        "metadata": {"name": "theirs"},
        "spec": {
            "nodeName": THEIRS,
            "serviceAccountName": "theirs",
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [{"name": "s", "secret": {"secretName": "theirs"}}],
        },
    }),
    ("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", {"metadata": {"name": THEIRS}}),
)  # fmt: skip


class Api(ApiServerProcess):
    """The API server, asked as CloudCore asks it."""

    def client(self) -> Client:
        return self._client

    @contextlib.asynccontextmanager
    async def asked(self) -> AsyncIterator[None]:
        async with Client(kubeconfig(self.folder / "cloudcore.kubeconfig")) as self._client:
            yield


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    server = Api(tmp_path_factory.mktemp("apiserver"))
    server.start()
    for where, obj in OBJECTS:
        assert server.ask("POST", where, obj).code == 201, where
    yield server
    server.stop()


def applications() -> Iterator[a.Application]:
    """Each verb on each kind, as a MetaServer would ask, or nobody's would."""
    for place in PLACES:
        named, whole = str(place.key), str(msgspec.structs.replace(place.key, name=""))
        everywhere = str(msgspec.structs.replace(place.key, name="", namespace=""))
        body, new = place.body(place.name), place.body("edge-3")
        info = a.PatchInfo(
            name=place.name, patch_type="application/merge-patch+json", data=b'{"metadata":{"labels":{}}}'
        )
        verbs = [
            a.make(NODE, named, "get"),
            *(a.make(NODE, where, verb) for verb in ("list", "watch", a.FOLLOW) for where in (whole, everywhere)),
            a.make(NODE, whole, "create", body=new),
            a.make(NODE, named, "update", body=body),
            a.make(NODE, named, "patch", option=msgspec.json.encode(info)),
            a.make(NODE, named, "updatestatus", body=body),
            a.make(NODE, named, "delete"),
        ]
        yield from (one for one in verbs if one.verb not in AS_IN_KUBERNETES.get(place.plural, ()))
        for sub in place.subresources:
            yield a.make(NODE, named, "get", subresource=sub)
            yield a.make(NODE, named, "create", body=body, subresource=sub)
            yield a.make(NODE, named, "update", body=body, subresource=sub)


def test_as_applications_to_the_cloud_all_is_refused_and_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        async with api.asked():
            link = DynamicLink(api)
            ready = asyncio.Event()
            task = asyncio.create_task(link.controller.run(ready.set))
            await ready.wait()
            try:
                for asked in applications():
                    for account in ("", "default/theirs"):
                        tried.append(f"{asked.verb} {asked.key} {asked.subresource} as {account or NODE}")
                        one = msgspec.structs.replace(asked, account=account)
                        reply = await link.request(p.ApplicationRequest(body=a.encode(one)), 30)
                        try:
                            passed.append(f"{tried[-1]}: {a.outcome(a.decode(reply.body))[:200]!r}")
                        except ApiError as error:
                            if error.code != 403:
                                passed.append(f"{tried[-1]}: {error.code} {error}")
            finally:
                task.cancel()
                await asyncio.wait([task])

    tried: list[str] = []
    passed: list[str] = []
    before = [api.ask("GET", place.key.path).body for place in PLACES]
    asyncio.run(main())
    assert not passed, "\n".join(passed)
    assert len(tried) > 400
    assert sum("as default/theirs" in line or f"as {NODE}" in line for line in caplog.messages) >= len(tried)
    assert [api.ask("GET", place.key.path).body for place in PLACES] == before


METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
FORMS = ("/api/v1/nodes/unhold-upgrade", "/api/v1/pods/unhold-upgrade", "/api/v1/namespaces/default/pods/restart")


@pytest.mark.parametrize("name", [THEIRS, "", f"{NODE}.", "admin"])
def test_at_the_door_of_a_nodes_metaserver_another_certificate_is_nobodys(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shown = {"subject": ((("organizationName", "system:nodes"),), (("commonName", certificate_name(name)),))}
    paths = [*(place.key.path for place in PLACES), *FORMS, "/api", "/apis", "/version", "/openapi/v3"]

    async def test(site: Site) -> None:
        for path, method, watch in itertools.product(paths, METHODS, ({}, {"watch": "true"})):
            answer = await site.server.answer(Request(method, path, watch, {}, b"{}", shown))
            assert answer.status == 401, (method, path)
        assert not site.link.asked
        assert any(certificate_name(name) in line and "refused" in line for line in caplog.messages)

    play(tmp_path, test, secure=True)


@pytest.mark.parametrize("ours", [True, False])
def test_in_its_tunnel_a_node_reaches_no_stream_of_another(ours: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def main() -> None:
        numbers = itertools.count(1)
        headers = {"octoedge-stream": "1"} if ours else {}
        thief, into_thief = pair(Peer(node=NODE, headers=headers), capacity=1000)
        edge, into_edge = pair(Peer(node=THEIRS, headers=headers), capacity=1000)
        tunnels = Tunnel(NODE, into_thief, numbers), Tunnel(THEIRS, into_edge, numbers)

        async def serve(tunnel: Tunnel) -> None:
            with contextlib.suppress(ConnectionClosed):
                await tunnel.run()

        async with asyncio.TaskGroup() as group:
            for tunnel in tunnels:
                group.create_task(serve(tunnel))
            stream = await tunnels[1].open(Kind.LOGS, Connector("/containerLogs/default/theirs/c", ""))
            opened = await edge.receive()
            for kind in Kind:
                await thief.send(encode(stream.number, kind, b'{"status":200,"headers":{}}'))
            if ours:
                await edge.send(encode(stream.number, Kind.ANSWER, encode_answer(Answer(200, {}))))
            await edge.send(encode(stream.number, Kind.DATA, b"the log"))
            await edge.send(encode(stream.number, Kind.REMOVE))
            assert [chunk async for chunk in stream.chunks()] == [b"the log"]
            assert opened
            await thief.close()
            await edge.close()

    clock.run(main())
    said = [line for line in caplog.messages if NODE in line]
    for kind in Kind:
        assert any(kind.name in line or kind is Kind.LOG_END for line in said), f"{kind.name} is not logged"
