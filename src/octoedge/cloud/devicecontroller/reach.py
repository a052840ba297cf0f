"""Whether a Device can be reached, told as Events on it when that changes, with the reason that its node gave.

    report of a state ─► changed(device, before, now, why) ─► queue of its device ─► Event

Of a change that is taken back before it was told nothing is told; one that is unhealthy has a moment for that, or for
being offline. A device that comes and goes without end is held back
by a token bucket (25 at once, then one in five minutes, as the kubelet does with a pod): the last change is told in any
case, later.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from dataclasses import dataclass

from octoedge.cloud.devicecontroller.events import Events
from octoedge.cloud.devicecontroller.facts import Facts
from octoedge.errors import ApiError, TransportError
from octoedge.kube.informer import Key
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_WORKERS = 4
_AGAIN_SECONDS = 30.0
_UNHEALTHY_SECONDS = 10.0
"""So long a device is unhealthy before that is told."""
BURST, REFILL_SECONDS = 25.0, 300.0


class Reach(enum.Enum):
    """Reasons of Events."""

    ONLINE = "DeviceOnline"
    UNHEALTHY = "DeviceUnhealthy"
    OFFLINE = "DeviceOffline"


_MEANT = {"online": Reach.ONLINE, "ok": Reach.ONLINE, "unhealthy": Reach.UNHEALTHY, "offline": Reach.OFFLINE}
"""Of the states that devices have; `unknown` is none that is told."""
_WITHOUT_REASON = {
    Reach.ONLINE: "node {node} reaches it",
    Reach.UNHEALTHY: "node {node} says that it is unhealthy, and no reason",
    Reach.OFFLINE: "node {node} says that it is offline, and no reason",
}


@dataclass(slots=True)
class _Known:
    """What Events say of a device."""

    uid: str
    told: Reach
    untold: tuple[Reach, str] | None
    tokens: float
    at: float
    """When the tokens were counted (the loop's time)."""

    def wait(self, now: float) -> float:
        """Seconds until the next Event may be told; 0 takes a token."""
        self.tokens = min(BURST, self.tokens + (now - self.at) / REFILL_SECONDS)
        self.at = now
        if self.tokens < 1:
            return max(1.0, (1 - self.tokens) * REFILL_SECONDS)
        self.tokens -= 1
        return 0.0


class Reachability:
    """Takes changes; `run` tells them."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._known: dict[Key, _Known] = {}
        """Devices that have changed; forgotten with the Device."""
        self._queue: KeyedQueue[Key] = KeyedQueue(self._tell, workers=_WORKERS, name="reachability of")
        self._said = SaidOnce(log)

    def changed(self, device: Facts, before: str, now: str, why: str) -> None:
        """Its DeviceStatus said `before`, and says `now`; a device that comes for the first time is no news."""
        known = self._known.get(device.key)
        if known is None or known.uid != device.uid:
            told = _MEANT.get(before.lower(), Reach.ONLINE)
            known = _Known(device.uid, told, None, BURST, asyncio.get_running_loop().time())
        reach = _MEANT.get(now.lower())
        if reach is None:
            return
        text = why or _WITHOUT_REASON[reach].format(node=device.node)
        known.untold = (reach, text) if reach is not known.told else None
        self._known[device.key] = known
        self._queue.forget(device.key)
        self._queue.add_later(device.key, _UNHEALTHY_SECONDS if reach is Reach.UNHEALTHY else 0.0)

    def forget(self, device: Facts) -> None:
        """The Device is gone."""
        self._known.pop(device.key, None)
        self._queue.forget(device.key)

    async def run(self) -> None:
        """Tell until cancelled."""
        await self._queue.run()

    async def _tell(self, key: Key) -> None:
        known = self._known.get(key)
        if known is None or known.untold is None:
            return
        wait = known.wait(asyncio.get_running_loop().time())
        if wait:
            self._queue.add_later(key, wait)
            return
        (reach, text), known.untold = known.untold, None
        before, known.told = known.told, reach
        try:
            await self._events.tell(key, known.uid, reach.value, text, "Normal" if reach is Reach.ONLINE else "Warning")
            self._said.over("Events of devices", "can be written again")
        except (ApiError, TransportError) as error:
            self._said.trouble("Events of devices", f"that of {'/'.join(key)} cannot be written: {error}")
            self._again(key, known, before, (reach, text))

    def _again(self, key: Key, known: _Known, before: Reach, lost: tuple[Reach, str]) -> None:
        """What was not told is told later, unless it was taken back meanwhile."""
        newer = known.untold or lost
        known.told, known.untold = before, newer if newer[0] is not before else None
        known.tokens += 1
        self._queue.add_later(key, _AGAIN_SECONDS)
