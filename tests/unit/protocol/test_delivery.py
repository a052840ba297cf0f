"""Delivery: order, newest version, window, resending; then a whole world with a bad network, by hypothesis."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.protocol.delivery import AckTimer, Delivery, Item, Sending
from octoedge.protocol.payloads import ObjectDelete, ObjectUpdate, TwinReport
from octoedge.protocol.resource import Resource


def _ids() -> Delivery:
    count = itertools.count()
    return Delivery(lambda: f"m{next(count)}")


def _item(name: str, version: int, uid: str = "", *, deletes: bool = False) -> Item:
    resource = Resource("default", "pod", name)
    payload = ObjectDelete(resource=resource) if deletes else ObjectUpdate(resource=resource, version=str(version))
    return Item(payload, uid or name, version, deletes)


def _sent(sendings: list[Sending]) -> list[tuple[str, int, bool]]:
    return [(sending.item.key.name, sending.item.version, sending.item.deletes) for sending in sendings]


def test_an_item_is_sent_once_and_is_done_when_acknowledged() -> None:
    delivery = _ids()
    assert delivery.offer(_item("a", 1))
    [sending] = delivery.due(0.0)
    assert delivery.due(1.0) == []
    assert delivery.next_due() == 5.0
    assert delivery.acknowledge(sending.message_id, 0.1) == sending.item
    assert len(delivery) == 0
    assert delivery.next_due() is None
    assert delivery.acknowledge(sending.message_id, 0.1) is None


def test_what_waits_is_replaced_by_what_is_newer() -> None:
    delivery = _ids()
    delivery.offer(_item("a", 1))
    first = delivery.due(0.0)
    assert delivery.offer(_item("a", 2))
    assert delivery.offer(_item("a", 3))
    assert not delivery.offer(_item("a", 2))
    assert not delivery.offer(_item("a", 3))
    assert delivery.due(1.0) == []
    delivery.acknowledge(first[0].message_id, 0.1)
    assert _sent(delivery.due(1.0)) == [("a", 3, False)]


def test_what_the_node_has_is_not_sent_again() -> None:
    delivery = _ids()
    delivery.offer(_item("a", 5))
    delivery.acknowledge(delivery.due(0.0)[0].message_id, 0.1)
    assert not delivery.offer(_item("a", 5))
    assert not delivery.offer(_item("a", 4))
    assert delivery.offer(_item("a", 6))


def test_a_delete_comes_after_its_update_and_nothing_after_it() -> None:
    delivery = _ids()
    delivery.offer(_item("a", 1))
    [update] = delivery.due(0.0)
    assert delivery.offer(_item("a", 2, deletes=True))
    assert not delivery.offer(_item("a", 3))
    assert delivery.due(0.0) == []
    delivery.acknowledge(update.message_id, 0.1)
    [delete] = delivery.due(0.0)
    assert delete.item.deletes
    assert not delivery.offer(_item("a", 9))
    delivery.acknowledge(delete.message_id, 0.1)
    assert not delivery.offer(_item("a", 2))


def test_an_object_made_again_under_its_name_waits_for_the_delete() -> None:
    delivery = _ids()
    delivery.offer(_item("a", 1, "old", deletes=True))
    delivery.offer(_item("a", 2, "new"))
    [delete] = delivery.due(0.0)
    assert delete.item.uid == "old"
    delivery.acknowledge(delete.message_id, 0.1)
    assert [sending.item.uid for sending in delivery.due(0.0)] == ["new"]


def test_waiting_doubles_and_ends() -> None:
    delivery = _ids()
    delivery.offer(_item("a", 1))
    times = []
    now = 0.0
    while not delivery.expired:
        times += [now] * len(delivery.due(now))
        now = delivery.next_due() or now
        assert now < 1000
    assert times == [0, 5, 15, 35, 75, 135, 195, 255]
    assert [item.key.name for item in delivery.expired] == ["a"]
    assert len(delivery) == 0
    assert delivery.offer(_item("a", 1)), "the comparison may offer it anew"


def test_a_repetition_gives_way_to_what_is_newer() -> None:
    delivery = _ids()
    delivery.offer(_item("a", 1))
    [first] = delivery.due(0.0)
    delivery.offer(_item("a", 2))
    [second] = delivery.due(5.0)
    assert (second.item.version, second.attempt) == (2, 1)
    assert delivery.acknowledge(first.message_id, 0.1) is None


def test_the_window_counts_answers_too() -> None:
    delivery = Delivery(iter(map(str, range(100))).__next__, window=3)
    delivery.occupy("answer", 0.0, seconds=2.0)
    for name in "abcde":
        delivery.offer(_item(name, 1))
    assert _sent(delivery.due(0.0)) == [("a", 1, False), ("b", 1, False)]
    assert delivery.next_due() == 2.0
    assert _sent(delivery.due(2.0)) == [("c", 1, False)]
    delivery.occupy("answer 2", 2.0)
    delivery.acknowledge("answer 2", 0.1)
    delivery.acknowledge("0", 0.1)
    assert _sent(delivery.due(2.0)) == [("d", 1, False)]


def _device(kind: str, name: str, version: int = 1) -> Item:
    return Item(ObjectUpdate(resource=Resource("default", kind, name), version=str(version)), name, version)


def test_a_device_waits_for_all_models_and_they_for_nothing() -> None:
    delivery = _ids()
    for name in ("lamp", "meter"):
        delivery.offer(_device("devicemodel", name))
    for name in ("lamp-1", "lamp-2"):
        delivery.offer(_device("device", name))
    delivery.offer(_item("pod", 1))
    first = delivery.due(0.0)
    assert [sending.item.uid for sending in first] == ["lamp", "meter", "pod"]
    delivery.acknowledge(first[0].message_id, 0.1)
    assert delivery.due(0.1) == []
    delivery.acknowledge(first[1].message_id, 0.1)
    assert [sending.item.uid for sending in delivery.due(0.1)] == ["lamp-1", "lamp-2"]


def test_a_model_that_is_not_taken_does_not_keep_devices_away() -> None:
    delivery = _ids()
    delivery.offer(_device("devicemodel", "lamp"))
    delivery.offer(_device("device", "lamp-1"))
    assert [sending.item.uid for sending in delivery.due(0.0)] == ["lamp"]
    assert [(sending.item.uid, sending.attempt) for sending in delivery.due(5.0)] == [("lamp", 2), ("lamp-1", 1)]


def test_a_device_that_comes_back_is_sent_again() -> None:
    delivery = _ids()
    delivery.offer(_item("lamp", 3, deletes=True))
    delivery.acknowledge(delivery.due(0.0)[0].message_id, 0.1)
    assert not delivery.offer(_item("lamp", 3))
    assert delivery.offer(_item("lamp", 4))


def test_the_resend_timer_follows_what_acknowledgements_take() -> None:
    timer = AckTimer(5.0, 60.0)
    assert timer.seconds == 5.0
    for _ in range(20):
        timer.measured(12.0)
    assert 12.0 < timer.seconds < 20.0
    delivery = _ids()
    delivery.offer(_item("slow", 1))
    delivery.acknowledge(delivery.due(0.0)[0].message_id, 12.0)
    delivery.offer(_item("next", 1))
    delivery.due(20.0)
    assert delivery.next_due() == 20.0 + 36.0, "mean and four times the deviation"
    for _ in range(40):
        timer.measured(0.05)
    assert timer.seconds == 5.0


def test_what_was_sent_twice_is_no_measure() -> None:
    delivery = _ids()
    delivery.offer(_item("a", 1))
    [sending] = delivery.due(0.0)
    delivery.due(5.0)
    delivery.acknowledge(sending.message_id, 50.0)
    delivery.offer(_item("b", 1))
    delivery.due(60.0)
    assert delivery.next_due() == 65.0


def test_what_the_node_cannot_use_is_due_at_once_in_another_form_but_only_once() -> None:
    delivery = _ids()
    delivery.offer(_item("a", 1))
    [sending] = delivery.due(0.0)
    assert not sending.refused
    assert not delivery.refuse("unknown", 0.5)
    assert delivery.refuse(sending.message_id, 0.5)
    assert delivery.next_due() == 0.5
    [again] = delivery.due(0.5)
    assert (again.message_id, again.attempt, again.refused) == (sending.message_id, 2, True)
    assert not delivery.refuse(sending.message_id, 0.6)
    assert delivery.due(0.6) == []
    assert [one.refused for one in delivery.due(60.0)] == [True]
    assert delivery.acknowledge(sending.message_id, 61.0) is not None


def test_what_is_more_urgent_goes_first() -> None:
    delivery = _ids()
    report = TwinReport(resource=Resource("default", "device", "lamp"))
    delivery.offer(Item(report, "lamp", 1))
    delivery.offer(_item("pod", 1))
    assert [sending.item.uid for sending in delivery.due(0.0, 1)] == ["pod"]
    assert [sending.item.uid for sending in delivery.due(0.0, 1)] == ["lamp"]


@dataclass
class World:
    """An API with objects, a cloud with checkpoints, a network that spoils things, and an edge."""

    rng: random.Random
    version: int = 0
    live: dict[str, tuple[str, int]] = field(default_factory=dict)
    checkpoints: dict[str, tuple[str, int]] = field(default_factory=dict)
    edge: dict[str, tuple[str, int]] = field(default_factory=dict)
    sent: list[tuple[str, str, int, bool]] = field(default_factory=list)
    wire: list[Sending] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    now: float = 0.0
    delivery: Delivery = field(default_factory=_ids)

    def change(self, name: str) -> None:
        self.version += 1
        uid = self.live[name][0] if name in self.live else f"{name}-{self.version}"
        self.live[name] = (uid, self.version)
        self._intend(name, uid)
        self.delivery.offer(_item(name, self.version, uid))

    def _intend(self, name: str, uid: str) -> None:
        """A checkpoint exists before anything is sent: else a lost acknowledgement leaves an orphan at the edge."""
        self.checkpoints.setdefault(uid, (name, 0))

    def remove(self, name: str) -> None:
        if name in self.live:
            self.version += 1
            uid, _ = self.live.pop(name)
            self.delivery.offer(_item(name, self.version, uid, deletes=True))

    def compare(self) -> None:
        """What the sync controller does at connect and every five seconds."""
        for uid, (name, version) in self.checkpoints.items():
            if name not in self.live or self.live[name][0] != uid:
                self.delivery.offer(_item(name, version, uid, deletes=True))
        for name, (uid, version) in self.live.items():
            if self.checkpoints.get(uid, ("", -1))[1] < version:
                self._intend(name, uid)
                self.delivery.offer(_item(name, version, uid))

    def reconnect(self) -> None:
        self.wire.clear()
        self.acks.clear()
        self.sent.append(("", "", 0, False))
        self.delivery = _ids()
        self.compare()

    def pump(self, *, lossy: bool) -> None:
        self.now += 1.0
        for sending in self.delivery.due(self.now):
            item = sending.item
            self.sent.append((item.key.name, item.uid, item.version, item.deletes))
            copies = self.rng.choice([0, 1, 1, 2]) if lossy else 1
            self.wire += [sending] * copies
        if lossy:
            self.rng.shuffle(self.wire)
        kept: list[Sending] = []
        for sending in self.wire:
            if lossy and self.rng.random() < 0.3:
                kept.append(sending)
                continue
            self._arrive(sending.item)
            if not lossy or self.rng.random() < 0.7:
                self.acks.append(sending.message_id)
        self.wire = kept
        for message_id in self.acks:
            done = self.delivery.acknowledge(message_id, self.now)
            if done is not None:
                self._record(done)
        self.acks.clear()

    def _arrive(self, item: Item) -> None:
        """An edge as it should be: by version within a uid, deletes only what the delete names."""
        name = item.key.name
        uid, version = self.edge.get(name, ("", -1))
        if item.deletes:
            if uid == item.uid:
                del self.edge[name]
        elif uid != item.uid or version < item.version:
            self.edge[name] = (item.uid, item.version)

    def _record(self, item: Item) -> None:
        if item.deletes:
            self.checkpoints.pop(item.uid, None)
        else:
            self.checkpoints[item.uid] = (item.key.name, item.version)


_KINDS = ["change", "change", "remove", "pump", "pump", "calm", "reconnect"]
_steps = st.lists(st.tuples(st.sampled_from(_KINDS), st.sampled_from("abc")), max_size=60)


def _play(world: World, steps: list[tuple[str, str]]) -> None:
    for step, name in steps:
        if step == "change":
            world.change(name)
        elif step == "remove":
            world.remove(name)
        elif step == "reconnect":
            world.reconnect()
        else:
            world.pump(lossy=step == "pump")


@settings(max_examples=300, deadline=None)
@given(_steps, st.integers(0, 2**32))
def test_a_node_ends_with_what_the_cloud_has(steps: list[tuple[str, str]], seed: int) -> None:
    world = World(random.Random(seed))
    _play(world, steps)
    world.reconnect()
    for _ in range(40):
        world.pump(lossy=False)
        if world.now % 5 == 0:
            world.compare()
    assert world.edge == world.live
    assert len(world.delivery) == 0


@settings(max_examples=300, deadline=None)
@given(_steps, st.integers(0, 2**32))
def test_nothing_older_is_sent_after_something_newer(steps: list[tuple[str, str]], seed: int) -> None:
    world = World(random.Random(seed))
    _play(world, steps)
    last: dict[str, tuple[int, bool]] = {}
    for name, uid, version, deletes in world.sent:
        if not name:
            last.clear()
            continue
        before, deleted = last.get(uid, (-1, False))
        assert deletes or (version >= before and not deleted), f"{name}: {version} after {before}"
        last[uid] = (version, deletes)


def test_items_of_other_objects_do_not_wait_for_a_lost_one() -> None:
    delivery = _ids()
    delivery.offer(_item("lost", 1))
    delivery.due(0.0)
    delivery.offer(_item("other", 1))
    assert _sent(delivery.due(0.1)) == [("other", 1, False)]


@pytest.mark.parametrize("count", [1, 31, 32, 33, 500])
def test_a_window_is_never_exceeded(count: int) -> None:
    delivery = _ids()
    for number in range(count):
        delivery.offer(_item(f"p{number}", 1))
    got = 0
    while sendings := delivery.due(0.0):
        assert len(sendings) <= 32
        assert delivery.due(0.0) == []
        got += len(sendings)
        for sending in sendings:
            delivery.acknowledge(sending.message_id, 0.1)
    assert got == count
