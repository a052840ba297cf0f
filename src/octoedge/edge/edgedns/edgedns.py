"""EdgeDNS's module: what is followed of the cluster, and where it listens.

Names that were known go on being answered without the cloud, and after a restart from what is on disk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import msgspec

from octoedge.edge.edgedns.forward import Forwarder, Resolvers
from octoedge.edge.edgedns.records import HEADLESS, Records
from octoedge.edge.edgedns.server import NameServer, serve
from octoedge.edge.edgedns.wire import text_name
from octoedge.edge.ports import Copies
from octoedge.runtime import dummy
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

PATIENCE = 30.0
"""Seconds after the start for which a cluster name that was never heard of is answered with "try again"."""

_REMEDY = "see who has the port (ss -lunp), or choose another address: octoedge.edgeDNS.listen in EdgeCore's config"

_SLICES = (("discovery.k8s.io", "v1", "endpointslices"), {"labels": HEADLESS})
_ALIASES = (("", "v1", "services"), {"fields": "spec.type=ExternalName"})
_FOLLOWED = (_SLICES, _ALIASES)
"""What names are made from: kinds, and which objects of them."""


class Settings(msgspec.Struct, frozen=True):
    """Where EdgeDNS listens, and what it answers for."""

    listen: Sequence[tuple[str, int]]
    domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    """The name servers that are asked for everything else."""


class EdgeDns:
    """A module: listens while it runs."""

    name = "edgeDNS"

    def __init__(self, settings: Settings, copies: Copies, needs: tuple[str, ...]) -> None:
        self.needs = needs
        self.records = Records()
        self._settings = settings
        self._copies = copies
        resolvers = Resolvers(settings.resolv_conf, {host for host, _ in settings.listen})
        domain = text_name(settings.domain or "cluster.local")
        self.server = NameServer(self.records, Forwarder(resolvers), domain)
        self._said = SaidOnce(log)
        self._trouble = ""

    def health(self) -> dict[str, object]:
        """How things are, for the status socket."""
        ages = [self._copies.age(*kind, **chosen) for kind, chosen in _FOLLOWED]
        known = [age for age in ages if age is not None]
        return {
            "listen": [f"{host}:{port}" for host, port in self._settings.listen],
            "services": len(self.records),
            "known": self.records.known,
            "age": round(max(known)) if len(known) == len(ages) else None,
            "trouble": self._trouble,
        }

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_slices(), name="headless Services")
            group.create_task(self._follow_aliases(), name="Services of type ExternalName")
            group.create_task(self._give_up_waiting(), name="patience")
            group.create_task(self._listen(), name="name server")
            await asyncio.sleep(0)
            ready()

    async def _follow_slices(self) -> None:
        kind, chosen = _SLICES
        follower = self._copies.follow(*kind, **chosen)
        async with aclosing(follower) as news:
            async for told in news:
                if told.whole:
                    self.records.set_slices(told.objects)
                else:
                    self.records.put_slices(told.objects)
                for place in told.gone:
                    self.records.remove_slice(place)

    async def _follow_aliases(self) -> None:
        kind, chosen = _ALIASES
        follower = self._copies.follow(*kind, **chosen)
        async with aclosing(follower) as news:
            async for told in news:
                if told.whole:
                    self.records.set_aliases(told.objects)
                else:
                    self.records.put_aliases(told.objects)
                for place in told.gone:
                    self.records.remove_alias(place)

    async def _give_up_waiting(self) -> None:
        """Resolvers stop their search at "try again", so a cloud that never tells must not keep pods from the world."""
        await asyncio.sleep(PATIENCE)
        self.records.known = True

    async def _listen(self) -> None:
        """Nothing else waits for a port that somebody has."""
        backoff = Backoff(1.0, 60.0)
        where = ", ".join(f"{host}:{port}" for host, port in self._settings.listen)

        def listens() -> None:
            self._trouble = ""
            self._said.over(f"EdgeDNS on {where}", "listens")
            backoff.reset()

        while True:
            try:
                for host, _ in self._settings.listen:
                    if dummy.is_link_local(host):
                        dummy.ensure(host)
                await serve(self.server, self._settings.listen, listens)
            except OSError as error:
                self._trouble = (
                    f"EdgeDNS cannot listen on {where}: {error}; pods resolve no names until it can; {_REMEDY}"
                )
                self._said.trouble(f"EdgeDNS on {where}", f"cannot listen: {error}; trying again; {_REMEDY}")
            await asyncio.sleep(backoff.next())
