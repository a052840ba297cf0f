"""What pods that neither the store nor the runtime knows have left on the host: removed, however long it takes.

A volume whose driver is not there yet is one reason for another try.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from octoedge.edge.edged.containers import Containers
from octoedge.edge.edged.layout import Layout
from octoedge.errors import OctoedgeError
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_AGAIN = 30.0


class Leftovers:
    """Removes them one by one, again and again until they are gone."""

    def __init__(self, containers: Containers, layout: Layout) -> None:
        self._containers = containers
        self._layout = layout
        self._uids: set[str] = set()
        self._said = SaidOnce(log)

    async def remove(self, uids: Iterable[str]) -> None:
        """One try for each; what stays is tried again by `run`."""
        for uid in uids:
            try:
                await self._containers.clean_up(uid, self._layout.log_directories(uid))
            except (OctoedgeError, ValueError) as error:
                self._uids.add(uid)
                self._said.trouble(f"what pod {uid} left on disk", f"cannot be removed: {error}")
            else:
                self._uids.discard(uid)
                self._said.over(f"what pod {uid} left on disk", "is removed")

    async def run(self) -> None:
        """Try again until nothing is left."""
        while self._uids:
            await asyncio.sleep(_AGAIN)
            await self.remove(sorted(self._uids))
