"""Service account tokens: one request, renewal in time, service while offline, gone with their pod."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.metamanager.tokens import token_key
from octoedge.errors import ApiError, DeadlineError, OfflineError
from octoedge.protocol.resource import Resource
from octoedge.runtime.clock import rfc3339
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.metaworld import Player, World, pod

HOUR = 3600.0
REQUEST: dict[str, Any] = {
    "spec": {
        "audiences": None,
        "expirationSeconds": 3607,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": "u1"},
    }
}


@pytest.fixture
def play(tmp_path: Path) -> Player:
    return Player(tmp_path / "edgecore.db")


async def token(world: World, request: dict[str, Any] = REQUEST) -> str:
    answer = await world.meta.token("default", "sa", request)
    return str(answer["status"]["token"])


def test_a_token_is_asked_for_once_and_survives_a_restart(play: Player) -> None:
    cloud = CloudLink()
    seen = []

    async def test(world: World) -> None:
        seen.append(await token(world))

    play(test, cloud=cloud)
    play(test, cloud=cloud)
    assert seen[0] == seen[1]
    assert len(cloud.requests) == 1


def test_it_is_renewed_when_a_day_is_over(play: Player) -> None:
    async def test(world: World) -> None:
        first = await token(world)
        world.clock.shift(23.9 * HOUR)
        assert await token(world) == first
        world.clock.shift(0.2 * HOUR)
        assert await token(world) != first

    play(test)


def test_it_is_renewed_when_most_of_its_life_is_over(play: Player) -> None:
    cloud = CloudLink()
    cloud.tokens_expire = rfc3339(1_790_000_000.0 + HOUR)

    async def test(world: World) -> None:
        first = await token(world)
        world.clock.shift(0.79 * HOUR)
        assert await token(world) == first
        world.clock.shift(0.02 * HOUR)
        assert await token(world) != first

    play(test, cloud=cloud)


def test_offline_even_an_expired_one_is_served_and_renewed_on_return(play: Player) -> None:
    async def test(world: World) -> None:
        first = await token(world)
        world.cloud.set_connected(False)
        world.clock.shift(400 * 24 * HOUR)
        assert await token(world) == first
        with pytest.raises(OfflineError):
            await token(world, {"spec": {"audiences": ["other"]}})
        world.cloud.set_connected(True)
        assert await token(world) != first

    play(test)


def test_a_clock_that_was_ahead_does_not_keep_a_token_for_ever(play: Player) -> None:
    async def test(world: World) -> None:
        first = await token(world)
        world.clock.shift(-48 * HOUR)
        assert await token(world) != first

    play(test)


@pytest.mark.parametrize("error", [DeadlineError("silence"), ApiError(500, "InternalError", "trouble")])
def test_a_failed_renewal_serves_the_stored_one(play: Player, error: Exception) -> None:
    async def test(world: World) -> None:
        first = await token(world)
        world.clock.shift(25 * HOUR)
        world.cloud.fail = lambda _: error
        assert await token(world) == first

    play(test)


def test_a_service_account_that_is_gone_is_told(play: Player) -> None:
    async def test(world: World) -> None:
        await token(world)
        world.clock.shift(25 * HOUR)
        world.cloud.fail = lambda _: ApiError(404, "NotFound", "no such account")
        with pytest.raises(ApiError, match="no such account"):
            await token(world)

    play(test)


def test_a_token_goes_with_its_pod(play: Player) -> None:
    async def test(world: World) -> None:
        first = await token(world)
        await world.push("insert", "default/pod/web", pod())
        await world.push("delete", "default/pod/web", pod())
        second = await token(world)
        assert second != first
        await world.meta.forget_pod(Resource("default", "pod", "web"), "u1")
        assert await token(world) != second

    play(test)


def test_what_makes_tokens_different() -> None:
    spec = REQUEST["spec"]
    keys = {
        token_key("a", "b", spec),
        token_key("a", "c", spec),
        token_key("x", "b", spec),
        token_key("a", "b", {**spec, "audiences": ["x"]}),
        token_key("a", "b", {**spec, "expirationSeconds": 600}),
        token_key("a", "b", {**spec, "boundObjectRef": {"uid": "u2"}}),
    }
    assert len(keys) == 6
    assert token_key("a", "b", {**spec, "audiences": []}) == token_key("a", "b", spec)
