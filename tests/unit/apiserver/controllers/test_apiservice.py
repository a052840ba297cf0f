"""The Service `kubernetes` is always there, and leads to addresses from which the API can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from octoedge.apiserver.controllers.apiservice import SLICES, ApiService, reachable
from octoedge.apiserver.controllers.turn import Hands
from octoedge.testing.controlplane import ControlPlane, simulate


def serving(at: ControlPlane, addresses: Sequence[str]) -> asyncio.Task[None]:
    hands = Hands(at.rest, at.deletion, at.kinds, at.clock)
    return asyncio.ensure_future(ApiService(hands, addresses, 6443).run(lambda: None))


def test_it_is_made_kept_and_follows_the_address(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        task = serving(at, ("127.0.0.1", "192.0.2.1"))
        await at.until(lambda: bool(at.get(SLICES, "kubernetes")))
        service = at.get("services", "kubernetes")
        assert (service["spec"]["clusterIP"], service["spec"]["ports"][0]["targetPort"]) == ("10.96.0.1", 6443)
        assert at.get("endpoints", "kubernetes")["subsets"][0]["addresses"] == [{"ip": "192.0.2.1"}]
        await at.delete("services", "kubernetes")
        await at.delete("endpoints", "kubernetes")
        await at.until(lambda: bool(at.get("services", "kubernetes") and at.get("endpoints", "kubernetes")))
        version = at.backend.version
        await asyncio.sleep(60)
        assert at.backend.version == version
        task.cancel()
        again = serving(at, ("127.0.0.1", "192.0.2.9"))
        await at.until(lambda: at.get("endpoints", "kubernetes")["subsets"][0]["addresses"] == [{"ip": "192.0.2.9"}])
        assert at.get(SLICES, "kubernetes")["endpoints"][0]["addresses"] == ["192.0.2.9"]
        again.cancel()

    simulate(tmp_path, story)


def test_a_loopback_address_leads_nobody_here() -> None:
    assert reachable(("127.0.0.1", "::1", "localhost")) == []
    assert reachable(("edge.example", "2001:db8::1", "192.0.2.1")) == ["2001:db8::1"]
