"""Whose a node's name is, at the real doors: taken names, revoked certificates, tokens for one node, a return."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from pathlib import Path

import aiohttp
import pytest

from octoedge.edge.edgehub import certificate
from octoedge.edge.edgehub.enrolment import Enrolment, Files
from octoedge.pki import jointoken, ledger, token, x509
from octoedge.protocol import codec, routes
from octoedge.protocol.payloads import Keepalive
from octoedge.protocol.tunnel import NODE_HEADER
from octoedge.testing.clock import SettableClock
from octoedge.testing.doors import HEADERS, Doors, doors

JOINED = {"metadata": {"name": "edge-1"}, "status": {"nodeInfo": {"kubeletVersion": "v1.32.0"}}}


class Machine:
    """A machine with a key, at the doors of a cloud."""

    def __init__(self, at: Doors, name: str = "first", node: str = "edge-1") -> None:
        self.at = at
        self.node = node
        self.chain = at.folder / f"{name}.pem"
        self.key, self.csr = x509.new_node_request(node)
        self.der = b""

    async def asks(self, bearer: str = "", tls: ssl.SSLContext | None = None) -> tuple[int, str]:
        """Ask for a certificate; (status, text)."""
        headers = {"NodeName": self.node} | ({"Authorization": f"Bearer {bearer}"} if bearer else {})
        status, body = await self.at.get("/edge.crt", tls=tls, headers=headers, body=self.csr)
        if status == 200:
            self.der = body
            self.chain.write_bytes(self.key + x509.certificate_to_pem(body))
            return status, ""
        return status, body.decode()

    def tls(self) -> ssl.SSLContext:
        """TLS with the certificate that it got."""
        context = self.at.tls()
        context.load_cert_chain(self.chain)
        return context

    async def status_at(self, port: int, headers: dict[str, str]) -> int:
        """What a WebSocket port answers to it."""
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
        url = f"https://127.0.0.1:{port}/v1/kubeedge/connect"
        async with self.at.session.get(url, ssl=self.tls(), headers={**upgrade, **key, **headers}) as response:
            return response.status


async def _revoked(at: Doors, node: str) -> None:
    """`octoedge node revoke`, and CloudCore knows it."""
    known = asyncio.Event()
    at.core.ledger.listen(lambda _: known.set())
    await ledger.revoke(at.api.client(), node, "stolen", now=time.time())
    async with asyncio.timeout(30):
        await known.wait()


def test_the_name_of_a_node_that_is_away_cannot_be_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as at:
            first, thief = Machine(at), Machine(at, "thief")
            assert await first.asks(at.bearer()) == (200, "")
            await at.api.create("/api/v1/nodes", JOINED)
            status, why = await thief.asks(at.bearer())
            assert (status, "keadm token create --node edge-1" in why) == (403, True)
            assert await first.asks(at.bearer()) == (200, ""), "its own key"
            assert await first.asks(tls=first.tls()) == (200, ""), "renewal"

            await ledger.release(at.api.client(), "edge-1")
            old = first.tls()
            assert await thief.asks(at.bearer()) == (200, "")
            assert (await first.asks(tls=old))[0] == 403, "who joins anew ends what was before"

    asyncio.run(main())


def test_a_node_that_was_prepared_only_may_be_joined(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as at:
            await at.api.create("/api/v1/nodes", {"metadata": {"name": "edge-1"}})
            assert await Machine(at).asks(at.bearer()) == (200, "")

    asyncio.run(main())


def test_a_deleted_node_frees_its_name(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as at:
            assert await Machine(at).asks(at.bearer()) == (200, "")
            assert await Machine(at, "second").asks(at.bearer()) == (200, "")

    asyncio.run(main())


def test_a_revoked_certificate_is_refused_everywhere_at_once_and_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as at:
            machine = Machine(at)
            assert await machine.asks(at.bearer()) == (200, "")
            async with at.channel(machine.tls()) as socket:
                await socket.send_bytes(codec.encode(routes.compose(Keepalive(), message_id="k", timestamp=0)))
                await at.began.wait()
                await _revoked(at, "edge-1")
                async with asyncio.timeout(30):
                    await at.ended.wait()
            await _refused_everywhere(at, machine)
            api = at.api
        async with doors(tmp_path, api) as again:
            machine.at = again
            await _refused_everywhere(again, machine)
            assert (await Machine(again, "thief").asks(again.bearer()))[0] == 403
            await ledger.release(again.api.client(), "edge-1")
            assert await Machine(again, "next").asks(again.bearer()) == (200, "")
            assert await machine.status_at(again.core.websocket.server.port, HEADERS) == 403

    asyncio.run(main())


async def _refused_everywhere(at: Doors, machine: Machine) -> None:
    assert await machine.status_at(at.core.websocket.server.port, HEADERS) == 403
    tunnel = {NODE_HEADER: "edge-1"}
    assert await machine.status_at(at.core.stream.tunnel_port, tunnel) == 403
    assert (await machine.asks(tls=machine.tls()))[0] == 403
    assert (await machine.asks())[0] == 401


def test_a_token_for_a_node_is_for_that_node_and_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as at:
            client = at.api.client()
            assert await Machine(at).asks(at.bearer()) == (200, "")
            await at.api.create("/api/v1/nodes", JOINED)
            wish = jointoken.Record("", time.time() + 60, node="edge-1", once=True)
            made = await jointoken.create(client, wish, await jointoken.ca_hash(client))
            token.check_ca(made, at.core.authority.ca.certificate)
            bearer = token.split(made)[1]
            other = await Machine(at, "other", "edge-2").asks(bearer)
            assert (other[0], "is not for node edge-2" in other[1]) == (401, True)
            both = await asyncio.gather(*(Machine(at, f"m{number}").asks(bearer) for number in range(2)))
            assert sorted(status for status, _ in both) == [200, 401]

    asyncio.run(main())


def test_two_that_join_under_one_name_at_once_leave_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with doors(tmp_path) as at:
            machines = [Machine(at, f"m{number}") for number in range(3)]
            await asyncio.gather(*(machine.asks(at.bearer()) for machine in machines))
            port = at.core.websocket.server.port
            good = [machine for machine in machines if machine.der and await _gets_in(machine, port)]
            assert len(good) == 1

    asyncio.run(main())


async def _gets_in(machine: Machine, port: int) -> bool:
    with contextlib.suppress(aiohttp.ClientError):
        return await machine.status_at(port, HEADERS) == 101
    return False


@pytest.mark.parametrize(("days", "status"), [(364, 200), (365 + 89, 200), (365 + 91, 401)])
def test_a_node_that_slept_past_its_certificate_returns_by_its_key(tmp_path: Path, days: int, status: int) -> None:
    async def main() -> None:
        clock = SettableClock(time.time())
        async with doors(tmp_path, clock=clock) as at:
            machine = Machine(at)
            assert await machine.asks(token.split(at.core.authority.mint(expires=int(clock.now()) + 60))[1]) == (
                200,
                "",
            )
            clock.time += days * 86400
            assert (await machine.asks())[0] == status
            assert (await Machine(at, "other").asks())[0] == 401

    asyncio.run(main())


@pytest.mark.parametrize("name", ["", "a/b", "Edge", "x" * 254, "..", "a\tb"])
def test_a_name_that_cannot_be_a_nodes_is_refused(tmp_path: Path, name: str) -> None:
    async def main() -> None:
        async with doors(tmp_path) as at:
            headers = {"NodeName": name, "Authorization": f"Bearer {at.bearer()}"}
            status, _ = await at.get("/edge.crt", headers=headers, body=Machine(at).csr)
            assert status == 400

    asyncio.run(main())


def test_an_edge_returns_by_itself_after_a_winter(tmp_path: Path) -> None:
    async def main() -> None:
        clock = SettableClock(time.time())
        async with doors(tmp_path, clock=clock) as at:
            files = Files(tmp_path / "edge.ca", tmp_path / "edge.crt", tmp_path / "edge.key")
            minted = at.core.authority.mint(expires=int(clock.now()) + 60)
            url = f"https://127.0.0.1:{at.core.https.port}"
            await Enrolment("edge-1", url, files, clock, minted, bootstrap_file=tmp_path / "none").ensure()
            key = files.key.read_bytes()
            clock.time += 400 * 86400
            edge = Enrolment("edge-1", url, files, clock, bootstrap_file=tmp_path / "none")
            await edge.ensure()
            assert certificate.load(files.certificate).not_after > clock.now()
            assert files.key.read_bytes() == key
            clock.time += 400 * 86400
            await edge.renew()
            assert certificate.load(files.certificate).not_after > clock.now()

    asyncio.run(main())
