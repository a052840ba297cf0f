"""Join tokens with a node, an end and a number of uses: found out by hash, used by one of two."""

from __future__ import annotations

import asyncio

import pytest

from octoedge.errors import TokenError
from octoedge.pki import jointoken, token
from octoedge.pki.jointoken import Record
from octoedge.testing.clock import run
from octoedge.testing.kube import MemoryApi

NOW = 1_800_000_000.0
CA = "a" * 64


async def _made(api: MemoryApi, **wish: object) -> str:
    """The bearer of a new token."""
    record = Record("", NOW + 3600, **wish)  # type: ignore[arg-type]
    return token.split(await jointoken.create(api.client(), record, CA))[1]


def test_what_is_stored_is_not_the_token() -> None:
    async def main() -> None:
        api = MemoryApi()
        bearer = await _made(api, node="edge-1", description="a spare part")
        assert jointoken.is_one(bearer)
        kept = (await jointoken.read_all(api.client()))[0]
        assert (kept.id, kept.record.node) == (bearer.split(".")[1], "edge-1")
        secret = bearer.rpartition(".")[2]
        assert secret not in str(api.objects)
        assert secret not in repr(kept)

    run(main())


@pytest.mark.parametrize(
    ("wish", "node", "now", "why"),
    [
        ({}, "edge-1", NOW + 3600, "has expired"),
        ({"node": "edge-1"}, "edge-2", NOW, "is not for node edge-2"),
        ({"once": True, "used_by": "edge-1", "used_key": "k1"}, "edge-1", NOW, "has been used"),
        ({"once": True, "used_by": "edge-2", "used_key": "k2"}, "edge-1", NOW, "has been used"),
    ],
)
def test_what_is_refused(wish: dict[str, object], node: str, now: float, why: str) -> None:
    async def main() -> None:
        api = MemoryApi()
        bearer = await _made(api, **wish)
        with pytest.raises(TokenError, match=why):
            await jointoken.use(api.client(), bearer, node, "k2", now=now)

    run(main())


@pytest.mark.parametrize("damage", ["join.000000000000.x", "join.x.y", "join.../../casecret.y", "join.a.b.c", "join"])
def test_what_is_no_token_of_ours(damage: str) -> None:
    async def main() -> None:
        with pytest.raises(TokenError, match=r"not known here|malformed"):
            await jointoken.use(MemoryApi().client(), damage, "edge-1", "k", now=NOW)

    run(main())


def test_a_wrong_secret_and_a_deleted_token_say_the_same() -> None:
    async def main() -> None:
        api = MemoryApi()
        bearer = await _made(api)
        with pytest.raises(TokenError, match="not known here"):
            await jointoken.use(api.client(), bearer[:-1] + "!", "edge-1", "k", now=NOW)
        await jointoken.delete(api.client(), bearer.split(".")[1])
        with pytest.raises(TokenError, match="not known here"):
            await jointoken.use(api.client(), bearer, "edge-1", "k", now=NOW)
        with pytest.raises(TokenError, match="there is no token"):
            await jointoken.delete(api.client(), bearer.split(".")[1])

    run(main())


def test_of_two_at_once_one_wins_and_may_ask_again() -> None:
    async def main() -> None:
        api = MemoryApi()
        bearer = await _made(api, once=True)

        async def attempt(node: str) -> str:
            try:
                await jointoken.use(api.client(), bearer, node, f"key of {node}", now=NOW)
            except TokenError:
                return ""
            return node

        won = [node for node in await asyncio.gather(*(attempt(f"edge-{n}") for n in range(4))) if node]
        assert len(won) == 1
        assert await attempt(won[0]) == won[0]
        assert await jointoken.use(api.client(), await _made(api, node="edge-1"), "edge-1", "k", now=NOW)

    run(main())


def test_expired_ones_are_removed_in_the_end() -> None:
    async def main() -> None:
        api = MemoryApi()
        await _made(api)
        await jointoken.delete_expired(api.client(), before=NOW + 3600)
        assert len(await jointoken.read_all(api.client())) == 1
        await jointoken.delete_expired(api.client(), before=NOW + 3601)
        assert not await jointoken.read_all(api.client())

    run(main())
