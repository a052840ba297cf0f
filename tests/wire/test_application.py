"""Applications as a live Go EdgeCore v1.23.1 sends them to our CloudCore, and the answers of a live Go CloudCore.

Kept byte for byte; `make test-peers` (case MetaServer) is how they come about.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from octoedge.api.policy import Question, allows, read
from octoedge.cloud.dynamiccontroller.controller import DynamicController
from octoedge.edge.metamanager.metaserver.feeds import read_listing
from octoedge.protocol import application as a
from octoedge.protocol import payloads as p
from octoedge.protocol.codec import decode
from octoedge.protocol.message import Message
from octoedge.protocol.routes import Direction, acknowledge, answer, classify, compose
from octoedge.testing.clock import run
from octoedge.testing.dynamiclink import NODE, DynamicLink
from octoedge.testing.kube import MemoryApi


class Captured(msgspec.Struct, frozen=True):
    """One line of the file."""

    scene: str
    dir: str
    message: msgspec.Raw


LINES = (Path(__file__).parent / "data" / "application.jsonl").read_bytes().splitlines()
SCENES = {one.scene: bytes(one.message) for one in (msgspec.json.decode(line, type=Captured) for line in LINES)}
SERVICES, SERVICE = "/api/v1/namespaces/default/services", {"kind": "Service", "apiVersion": "v1"}
ASKED = ("discovery", "get", "watch", "list", "patch")
ANSWERED = ("discovery answered", "get answered", "list answered", "patch answered")


def asked(scene: str) -> tuple[Message, a.Application]:
    message = decode(SCENES[scene])
    payload = classify(Direction.UP, message)
    assert type(payload) is p.ApplicationRequest
    return message, a.decode(payload.body)


@pytest.mark.parametrize("scene", ASKED)
def test_what_a_go_edge_asks_is_what_ours_would_write(scene: str) -> None:
    message, application = asked(scene)
    again = a.make(
        application.nodename,
        application.key,
        application.verb,
        option=application.option or b"",
        body=application.req_body,
        subresource=application.subresource,
    )
    assert again.id == application.id
    content = msgspec.json.decode(a.encode(again))
    assert content == msgspec.json.decode(SCENES[scene])["content"]
    written = compose(p.ApplicationRequest(body=a.encode(again)), message_id="x", timestamp=0)
    assert written.route == message.route


def test_what_it_is_about_is_read_from_key_and_option() -> None:
    assert a.is_discovery(asked("discovery")[1].key)
    assert a.parse_key(asked("get")[1].key) == a.Key("", "v1", "services", "default", "kubernetes")
    assert a.parse_key(asked("list")[1].key) == a.Key("", "v1", "services", "default")
    assert a.option_as(asked("watch")[1], dict[str, object])["watch"] is True
    info = a.option_as(asked("patch")[1], a.PatchInfo)
    assert (info.name, info.patch_type) == ("peer", "application/merge-patch+json")
    assert msgspec.json.decode(info.data or b"") == {"metadata": {"annotations": {"octoedge.test/word": "said"}}}


@pytest.mark.parametrize("scene", ANSWERED)
def test_what_a_go_cloud_answers_is_read_and_what_ours_would_write(scene: str) -> None:
    message = decode(SCENES[scene])
    payload = classify(Direction.DOWN, message)
    assert type(payload) is p.Answer
    application = a.decode(payload.body)
    body = a.outcome(application)
    assert msgspec.json.decode(body)
    request = compose(p.ApplicationRequest(body=b"{}"), message_id=message.header.parent_msg_id, timestamp=0)
    ours = answer(request, a.encode(a.approved(application, body)), message_id="x", timestamp=0)
    assert ours.route == message.route
    assert msgspec.json.decode(bytes(ours.content)) == msgspec.json.decode(SCENES[scene])["content"]


def test_the_list_of_a_go_cloud_is_a_list() -> None:
    application = a.decode(classify(Direction.DOWN, decode(SCENES["list answered"])).body)
    listing = read_listing(a.outcome(application), a.parse_key(application.key))
    assert listing.item_kind == "Service"
    assert listing.metadata.version > 0
    assert b'"kubernetes"' in b"".join(listing.objects())


def test_a_watch_and_its_end_as_a_go_edge_has_them() -> None:
    async def main() -> None:
        api = MemoryApi()
        api.trusted.add(f"system:node:{NODE}")
        link = DynamicLink(api)
        ready = asyncio.Event()
        task = asyncio.create_task(link.controller.run(ready.set))
        await ready.wait()
        await api.create(SERVICES, {**SERVICE, "metadata": {"name": "kubernetes"}})
        await _receive(link.controller, "watch")
        assert [type(one) for one in link.pushed] == [p.WatchedInsert]
        await _receive(link.controller, "synchronized")
        await api.create(SERVICES, {**SERVICE, "metadata": {"name": "later"}})
        await asyncio.sleep(5)
        assert len(link.pushed) == 1
        task.cancel()
        await asyncio.wait([task])

    run(main())


async def _receive(controller: DynamicController, scene: str) -> None:
    message = decode(SCENES[scene])
    controller.receive(NODE, message, classify(Direction.UP, message))
    await asyncio.sleep(5)


def test_a_go_edge_acknowledges_what_a_watch_brings() -> None:
    message = decode(SCENES["acknowledged"])
    assert type(classify(Direction.UP, message)) is p.Ack
    assert message.header.parent_msg_id


def test_what_a_go_cloud_tells_of_a_service_account_is_stored_and_judged_by() -> None:
    message = decode(SCENES["account told"])
    payload = classify(Direction.DOWN, message)
    assert type(payload) is p.ObjectUpdate
    assert str(payload.resource) == "default/serviceaccountaccess/default"
    access = read(payload.body)
    assert access.spec.service_account.metadata.name == "default"
    bound = {one.cluster_role_binding.metadata.name for one in access.spec.access_cluster_role_binding or ()}
    assert "system:service-account-issuer-discovery" in bound
    assert not allows(access, Question("list", "", "secrets", "default"))
    mine = acknowledge(message, message_id="x", timestamp=0)
    assert (mine.route.source, mine.route.operation) == ("policycontroller", "response")
