"""Who holds a node's certificate tries every row of the route table on what belongs to another node.

The rows are read from the table, so that a new one without a judge fails here.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Collection, Iterator
from typing import Any

import msgspec
import pytest

from octoedge.cloud.devicecontroller.upstream import PAYLOADS as OF_DEVICES
from octoedge.cloud.dynamiccontroller.controller import PAYLOADS as OF_METASERVER
from octoedge.cloud.edgecontroller.authorize import of_another
from octoedge.cloud.edgecontroller.downstream import Downstream
from octoedge.cloud.edgecontroller.requests import HANDLERS, Requests
from octoedge.cloud.edgecontroller.upstream import Enforcement, Upstream
from octoedge.cloud.telemetry.intake import PAYLOADS as OF_TELEMETRY
from octoedge.errors import RouteError
from octoedge.pki import x509
from octoedge.protocol import payloads as p
from octoedge.protocol import routes
from octoedge.protocol.delivery import Item
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.routes import Direction
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.kube import MemoryApi

CHANNEL = {p.Keepalive, p.Ack, p.Nack}
"""Say nothing about objects."""
HARMLESS = {p.CaQuery}
"""The CA of the API server, which every pod of the node has anyway."""
OPEN = {"csidriver"}
"""What a storage driver wants is of the cluster, and every node may know it, as in Kubernetes."""

ABOUT = {"name": "theirs", "namespace": "default"}
BODIES: dict[str, Any] = {
    "pod": {
        "metadata": {**ABOUT, "annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {"nodeName": "edge-2", "containers": [{"name": "c", "image": "i"}]},
    },
    "podstatus": [{"UID": "u", "Name": "theirs", "Namespace": "default", "Status": {"phase": "Failed"}}],
    "event": {"metadata": ABOUT, "involvedObject": {"kind": "Pod", **ABOUT}},
    "serviceaccounttoken": {"spec": {"boundObjectRef": {"kind": "Pod", "name": "theirs", "uid": "u"}}},
    "certificatesigningrequest": {"metadata": {"name": "theirs"}, "spec": {"signerName": "kubernetes.io/legacy"}},
}
NAMES = {"node": "edge-2", "nodestatus": "edge-2", "nodepatch": "edge-2", "lease": "edge-2"}
SOURCES = ("edged", "metamanager", "metaserver", "twin", "edgecontroller", "anything", "")
GROUPS = ("meta", "resource", "twin", "anything", "")


def _upward() -> list[routes.Row]:
    return [row for row in routes.ROWS if row.direction is Direction.UP]


def test_every_row_towards_the_cloud_has_a_judge() -> None:
    judged = set(HANDLERS) | set(OF_DEVICES) | set(OF_METASERVER) | set(OF_TELEMETRY) | CHANNEL
    assert {row.payload for row in _upward()} <= judged


def _attempts() -> Iterator[tuple[str, str, str, str]]:
    """(source, group, operation, resource): each row's verb and kind, under every name of a source and group."""
    for row in _upward():
        if row.payload not in HANDLERS or row.payload in HARMLESS:
            continue
        for kind in sorted(row.types - OPEN):
            namespace = "kube-node-lease" if kind == "lease" else "default"
            resource = f"{namespace}/{kind}/{NAMES.get(kind, 'theirs')}"
            for source in SOURCES:
                for group in GROUPS:
                    yield source, group, row.operation, resource


async def _their_world(api: MemoryApi) -> None:
    """Another node, its pod, and what that pod refers to."""
    for name in ("edge-1", "edge-2"):
        labels = {"node-role.kubernetes.io/edge": ""}
        await api.create("/api/v1/nodes", {"metadata": {"name": name, "labels": labels}})
    pod = {
        "metadata": {"name": "theirs"},
        "spec": {
            "nodeName": "edge-2",
            "serviceAccountName": "theirs",
            "containers": [{"name": "c", "image": "i"}],
            "volumes": [
                {"name": "s", "secret": {"secretName": "theirs"}},
                {"name": "c", "configMap": {"name": "theirs"}},
            ],
        },
        "status": {"phase": "Running"},
    }
    await api.create("/api/v1/namespaces/default/pods", pod)
    for kind in ("secrets", "configmaps", "persistentvolumeclaims", "serviceaccounts", "events"):
        await api.create(f"/api/v1/namespaces/default/{kind}", {"metadata": {"name": "theirs"}, "data": {"a": "Yg=="}})
    await api.create("/api/v1/persistentvolumes", {"metadata": {"name": "theirs"}, "spec": {}})
    lease = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    await api.create(lease, {"metadata": {"name": "edge-2"}})
    attachment = {"metadata": {"name": "theirs"}, "spec": {"nodeName": "edge-2"}}
    await api.create("/apis/storage.k8s.io/v1/volumeattachments", attachment)
    signing = {"metadata": {"name": "theirs"}, "spec": {"signerName": "kubernetes.io/kubelet-serving"}}
    await api.create("/apis/certificates.k8s.io/v1/certificatesigningrequests", signing)


class _Line:
    """A `Downlink` that keeps the answers."""

    connected: Collection[str] = ("edge-1", "edge-2")

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Message] = asyncio.Queue()

    def ours(self, _node: str) -> bool:
        return True

    def offer(self, node: str, item: Item) -> None:
        """Nothing is listened to."""

    def answer(self, _node: str, message: Message) -> None:
        self.answers.put_nowait(message)

    def end(self, node: str, why: str) -> None:
        """Nobody ends."""


async def _try_all(upstream: Upstream, line: _Line) -> list[str]:
    """Every attempt, and what was answered."""
    said = []
    for number, (source, group, operation, resource) in enumerate(_attempts()):
        kind, name = resource.split("/")[1:]
        body = json.dumps(BODIES.get(kind, {"metadata": {"name": name}})).encode()
        route = Route(source=source, group=group, operation=operation, resource=resource)
        message = Message(Header(msg_id=str(number), sync=True), route, msgspec.Raw(body))
        try:
            payload = routes.classify(Direction.UP, message)
        except RouteError:
            continue
        upstream.receive("edge-1", message, payload)
        async with asyncio.timeout(60):
            answer = await line.answers.get()
        said.append(f"{operation} {resource} as {source}/{group}: {bytes(answer.content)!r}")
    return said


def test_a_stolen_certificate_opens_nothing_of_another_node(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def main() -> None:
        api, line, clock = MemoryApi(), _Line(), VirtualClock()
        await _their_world(api)
        before = dict(api.objects)
        downstream = Downstream(api.client(), line)
        requests = Requests(api.client(), downstream, address="192.0.2.1")
        upstream = Upstream(requests, downstream, line, clock, enforcement=Enforcement.ENFORCE)
        async with asyncio.TaskGroup() as group:
            ready = asyncio.Event()
            tasks = [group.create_task(module.run(ready.set)) for module in (downstream, upstream)]
            for _ in tasks:
                await ready.wait()
            said = await _try_all(upstream, line)
            for task in tasks:
                task.cancel()
        assert api.objects == before, "something was changed"
        assert len(said) > 100
        passed = [words for words in said if "may " not in words and "belong" not in words]
        assert not passed, "\n".join(passed[:10])
        assert caplog.text.count("edge-1") >= len(said), "every refusal is logged"

    run(main())


def _signing(node: str, signer: str) -> dict[str, Any]:
    _, der = x509.new_node_request(node)
    pem = b"-----BEGIN CERTIFICATE REQUEST-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE REQUEST-----\n"
    return {"spec": {"signerName": signer, "request": base64.b64encode(pem).decode()}}


@pytest.mark.parametrize(
    ("node", "signer", "why"),
    [
        ("edge-1", "kubernetes.io/kubelet-serving", ""),
        ("edge-1", "kubernetes.io/kube-apiserver-client-kubelet", ""),
        ("edge-1", "kubernetes.io/kube-apiserver-client", "only, not of"),
        ("edge-2", "kubernetes.io/kubelet-serving", "must ask for CN=system:node:edge-1"),
    ],
)
def test_a_signing_request_is_for_the_node_itself(node: str, signer: str, why: str) -> None:
    found = of_another("edge-1", _signing(node, signer))
    assert why in found
    assert bool(found) is bool(why)
    assert of_another("edge-1", {"spec": {"signerName": "kubernetes.io/kubelet-serving", "request": "!"}})
