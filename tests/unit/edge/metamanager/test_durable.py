"""Between two Octoedges every kind of report is confirmed: kept over a lost answer and a restart, said once more."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from octoedge.edge.metamanager.outbox import EVENT, NODE_STATUS, POD_DELETE, POD_STATUS
from octoedge.edge.ports import DEVICE_STATE, TWIN_REPORT, USER_UPLOAD
from octoedge.errors import OfflineError
from octoedge.protocol import payloads as p
from octoedge.protocol.routes import ROWS, Confirm, Direction, row_of
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.metaworld import Player, World

REPORTS: dict[str, tuple[type[p.Payload], str, bytes]] = {
    POD_STATUS: (p.PodStatusPatch, "default/web", b'{"metadata":{"uid":"u1"},"status":{"phase":"Running"}}'),
    POD_DELETE: (p.PodDelete, "default/web", b'{"preconditions":{"uid":"u1"}}'),
    NODE_STATUS: (p.NodeStatusPatch, "edge-1", b'{"status":{}}'),
    EVENT: (p.EventInsert, "default/web.1", b'{"metadata":{"name":"web.1","namespace":"default"}}'),
    TWIN_REPORT: (p.TwinReport, "default/counter", b'{"twin":{}}'),
    DEVICE_STATE: (p.DeviceStateReport, "default/counter", b'{"device":{"state":"online"}}'),
    USER_UPLOAD: (p.UserUpload, "SYS/dis/upload_records", b'"42"'),
}
ASKED_AGAIN = {
    p.Keepalive, p.ObjectQuery, p.TokenQuery, p.CaQuery, p.DeviceDetailQuery, p.ApplicationRequest, p.WatchSync,
    p.NodeInsert, p.NodeUpdate, p.LeaseInsert, p.LeaseUpdate, p.PodInsert, p.SigningRequestInsert,
}  # fmt: skip
"""Questions, signs of life, and what is made anew from what is there: whoever wants it asks again after a restart."""
OF_KUBEEDGE = {p.NodeStatusInsert, p.NodeStatusReport, p.PodStatusReport, p.EventUpdate, p.EventPatch}
"""Understood from edges of KubeEdge; ours says it in another way."""

KEPT_ELSEWHERE = {p.TelemetryBatch}
"""On disk until it is confirmed too, in telemetry's own database (`unit/edge/telemetry`)."""


def test_every_message_that_goes_up_is_kept_or_can_be_asked_again() -> None:
    up = {row.payload for row in ROWS if row.direction is Direction.UP}
    kept = {payload for payload, _, _ in REPORTS.values()}
    assert up == kept | ASKED_AGAIN | OF_KUBEEDGE | KEPT_ELSEWHERE
    assert {row_of(payload).confirm for payload in kept} == {Confirm.REPLY}


@pytest.mark.parametrize("kind", REPORTS)
def test_a_lost_answer_and_a_restart_lose_nothing_and_double_nothing(kind: str, tmp_path: Path) -> None:
    payload, key, body = REPORTS[kind]
    play = Player(tmp_path / "edgecore.db")
    requests: list[p.Payload] = []

    def cloud(*, loses: bool = False) -> CloudLink:
        made = CloudLink(ours=True)
        made.put("default/pod/web", {"metadata": {"uid": "u1"}})
        made.put("null/node/edge-1", {})
        made.requests = requests

        def lost(_: p.Payload) -> Exception:
            made.set_connected(False)
            return OfflineError("the connection was lost before the answer came")

        made.fail = lost if loses else lambda _: None
        return made

    async def before(world: World) -> None:
        await world.meta.outbox.put(kind, key, "u1", body)
        await asyncio.sleep(5)
        assert len(world.meta.outbox) == 1

    async def after(world: World) -> None:
        await asyncio.sleep(5)
        assert len(world.meta.outbox) == 0

    def said() -> int:
        return sum(isinstance(asked, payload) for asked in requests)

    play(before, cloud=cloud(loses=True))
    assert said() == 1
    play(after, cloud=cloud())
    assert said() == 2, "the answer was lost, so it is said again"
    play(after, cloud=cloud())
    assert said() == 2
