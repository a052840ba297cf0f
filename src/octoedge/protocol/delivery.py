"""Getting objects to one node for sure: what to send, when to send it again, when it is done. No I/O, no clock.

    offer(item) → due(now) → the session sends → acknowledge(message id, now) → the item that the node now has

* Per object key (the resource) at most one message is in flight, so order per object is kept whatever the way does.
* An item that waits is replaced by a newer version of the same object; an older one never follows a newer one.
* A delete ends its object (by uid): it waits behind what was sent before it, and of that uid only a later version comes
  after it (a device that left the node and came back).
* What must come first (`routes.after`: a DeviceModel before its Devices) has been acknowledged before what follows is
  sent. An edge that does not take the first within one resend timer is not kept from the second.
* Lanes: what is more urgent by the route table is sent first.
* At most `window` messages are in flight, answers counted (`occupy`): a Go edge drops the oldest of more than 100.
* Without acknowledgement the same message is sent again after the resend timer, doubling up to `resend_limit`; if a
  newer version waits by then, that one goes instead. The timer follows the time that acknowledgements take, measured
  as TCP measures it (mean and four times the deviation, repetitions left out), and is never under `resend` seconds.
  After `expiry` seconds a message is given up (`expired`) and the comparison with the checkpoints offers it anew.

One `Delivery` lives as long as one session; the next session begins with a comparison.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from octoedge.protocol.payloads import Payload
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Lane, after, row_of

_BURIED = 4096
"""How many uids of deleted objects are remembered, to refuse late updates of them."""


@dataclass(frozen=True, slots=True)
class Item:
    """One version of one object, or its end."""

    payload: Payload
    uid: str
    version: int
    deletes: bool = False

    @property
    def key(self) -> Resource:
        """What keeps its order."""
        return self.payload.resource


@dataclass(frozen=True, slots=True)
class Sending:
    """A message to send now."""

    message_id: str
    item: Item
    attempt: int
    """1 the first time."""
    refused: bool = False
    """The node did not take it in the form in which it came; the next form must need nothing that the node has."""


class AckTimer:
    """How long to wait for an acknowledgement: RFC 6298 with our own bounds."""

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most
        self._mean = 0.0
        self._deviation = 0.0

    def measured(self, seconds: float) -> None:
        """An acknowledgement of a message that was sent once took so long."""
        if not self._mean:
            self._mean, self._deviation = seconds, seconds / 2
            return
        self._deviation += (abs(self._mean - seconds) - self._deviation) / 4
        self._mean += (seconds - self._mean) / 8

    @property
    def seconds(self) -> float:
        """After this long without an acknowledgement a message is sent again."""
        return min(max(self._least, self._mean + 4 * self._deviation), self._most)


@dataclass(slots=True)
class _Flight:
    message_id: str
    item: Item
    interval: float
    sent_at: float
    again_at: float
    expires_at: float
    attempt: int = 1
    refused: bool = False


@dataclass(slots=True)
class _Chain:
    """What is under way and what waits for one key; `waiting` holds each uid once, in order."""

    flight: _Flight | None = None
    waiting: dict[str, Item] = field(default_factory=dict)
    holds: bool = False
    """Objects that must come after this one wait for it."""


class Delivery:
    """The messages of one session."""

    def __init__(
        self,
        new_id: Callable[[], str],
        *,
        window: int = 32,
        resend: float = 5.0,
        resend_limit: float = 60.0,
        expiry: float = 300.0,
    ) -> None:
        self._new_id = new_id
        self._window = window
        self._timer = AckTimer(resend, resend_limit)
        self._resend_limit = resend_limit
        self._expiry = expiry
        self._chains: dict[Resource, _Chain] = {}
        self._ready: dict[Lane, dict[Resource, None]] = {lane: {} for lane in Lane}
        self._held: dict[Resource, None] = {}
        self._holding: Counter[str] = Counter()
        self._flights: dict[str, _Flight] = {}
        self._others: dict[str, float] = {}
        self._confirmed: dict[str, int] = {}
        self._buried: dict[str, int] = {}
        self._look_at = float("inf")
        """Nothing is to be repeated before this time."""
        self.expired: list[Item] = []
        """Given up since the owner last looked; the owner clears it."""

    def __len__(self) -> int:
        """How many items are not confirmed yet."""
        return len(self._flights) + sum(len(chain.waiting) for chain in self._chains.values())

    @property
    def ready(self) -> bool:
        """Whether something waits for nothing but room in the window."""
        return any(self._ready.values())

    @property
    def room(self) -> int:
        """How many more messages the window holds."""
        return self._window - len(self._flights) - len(self._others)

    def offer(self, item: Item) -> bool:
        """Take `item` for sending; False when the node has it or something newer, or it is on its way."""
        if item.version <= self._buried.get(item.uid, -1):
            return False
        if not item.deletes and item.version <= self._confirmed.get(item.uid, -1):
            return False
        chain = self._chains.get(item.key)
        if chain is None:
            chain = self._chains[item.key] = _Chain(holds=True)
            self._holding[item.key.type] += 1
        flying = chain.flight.item if chain.flight else None
        if flying is not None and flying.uid == item.uid and not _supersedes(item, flying):
            return False
        waiting = chain.waiting.get(item.uid)
        if waiting is not None and not _supersedes(item, waiting):
            return False
        chain.waiting[item.uid] = item
        self._set_ready(item.key, chain)
        return True

    def occupy(self, message_id: str, now: float, seconds: float = 2.0) -> None:
        """Count a message that is not sent again (an answer) until it is acknowledged or `seconds` have passed."""
        self._others[message_id] = now + seconds

    def acknowledge(self, message_id: str, now: float) -> Item | None:
        """The node has stored the message; gives the item, or None when nobody waits for this id."""
        self._others.pop(message_id, None)
        flight = self._flights.pop(message_id, None)
        if flight is None:
            return None
        if not self._flights:
            self._look_at = float("inf")
        if flight.attempt == 1:
            self._timer.measured(now - flight.sent_at)
        item = flight.item
        if item.deletes:
            self._confirmed.pop(item.uid, None)
            self._bury(item)
        else:
            self._confirmed[item.uid] = max(item.version, self._confirmed.get(item.uid, -1))
        self._land(item.key)
        return item

    def refuse(self, message_id: str, now: float) -> bool:
        """The node cannot make use of the message: it is due again at once, the first time. Whether it is."""
        flight = self._flights.get(message_id)
        if flight is None or flight.refused:
            return False
        flight.refused, flight.again_at = True, now
        self._look_at = min(self._look_at, now)
        return True

    def due(self, now: float, most: int | None = None) -> list[Sending]:
        """What to send now, at most so much: repetitions first, then as much as the window holds."""
        sendings = self._repeat(now, most)
        if self._others:
            self._others = {message_id: until for message_id, until in self._others.items() if until > now}
        while (most is None or len(sendings) < most) and self.room > 0:
            key = self._next_ready()
            if key is None:
                break
            sendings.append(self._take_off(key, now))
        return sendings

    def next_due(self) -> float | None:
        """When `due` should be asked again, if nothing happens before: never too late, at times for nothing."""
        soonest = min(self._look_at, *self._others.values()) if self._others else self._look_at
        return soonest if soonest < float("inf") else None

    def _next_ready(self) -> Resource | None:
        for keys in self._ready.values():
            if keys:
                key = next(iter(keys))
                del keys[key]
                return key
        return None

    def _repeat(self, now: float, most: int | None) -> list[Sending]:
        again: list[Sending] = []
        if now < self._look_at:
            return again
        for flight in [flight for flight in self._flights.values() if flight.again_at <= now][:most]:
            item = flight.item
            if item.uid in self._chains[item.key].waiting:
                self._give_up(flight)
            elif now >= flight.expires_at:
                self._give_up(flight)
                self.expired.append(item)
            else:
                flight.attempt += 1
                flight.interval = min(flight.interval * 2, self._resend_limit)
                flight.again_at = now + flight.interval
                again.append(Sending(flight.message_id, item, flight.attempt, flight.refused))
                self._let_go(item.key)
        self._look_at = min((flight.again_at for flight in self._flights.values()), default=float("inf"))
        return again

    def _take_off(self, key: Resource, now: float) -> Sending:
        chain = self._chains[key]
        uid = next(iter(chain.waiting))
        item = chain.waiting.pop(uid)
        message_id = self._new_id()
        resend = self._timer.seconds
        chain.flight = _Flight(message_id, item, resend, now, now + resend, now + self._expiry)
        self._flights[message_id] = chain.flight
        self._look_at = min(self._look_at, now + resend)
        return Sending(message_id, item, 1)

    def _give_up(self, flight: _Flight) -> None:
        del self._flights[flight.message_id]
        self._land(flight.item.key)

    def _land(self, key: Resource) -> None:
        chain = self._chains[key]
        chain.flight = None
        if chain.waiting:
            self._set_ready(key, chain)
        else:
            self._let_go(key)
            del self._chains[key]

    def _set_ready(self, key: Resource, chain: _Chain) -> None:
        if chain.flight is not None:
            return
        ready = self._ready[row_of(next(iter(chain.waiting.values())).payload).lane]
        if key not in ready and self._holding.get(after(key.type)):
            self._held.setdefault(key)
        else:
            ready.setdefault(key)

    def _let_go(self, key: Resource) -> None:
        """What waits for objects of this type waits for one less."""
        chain = self._chains[key]
        if not chain.holds:
            return
        chain.holds = False
        self._holding[key.type] -= 1
        if self._holding[key.type]:
            return
        for held in [held for held in self._held if after(held.type) == key.type]:
            del self._held[held]
            self._set_ready(held, self._chains[held])

    def _bury(self, item: Item) -> None:
        self._buried[item.uid] = item.version
        if len(self._buried) > _BURIED:
            del self._buried[next(iter(self._buried))]


def _supersedes(new: Item, old: Item) -> bool:
    """Whether `new` tells more of the same object than `old`."""
    if old.deletes:
        return False
    return new.deletes or new.version > old.version
