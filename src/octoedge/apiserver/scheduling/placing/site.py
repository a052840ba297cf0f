"""What is known of nodes and of Pods that are placed: kept up to date change by change, and asked by every rule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from octoedge.apiserver.scheduling.placing.demand import UNIT, Amounts, HostPort
from octoedge.apiserver.scheduling.placing.nodes import Place
from octoedge.apiserver.scheduling.placing.pod import Key, Wants

USUAL = {"cpu": UNIT // 10, "memory": 200 * 1024 * 1024 * UNIT}
"""What a Pod is taken to need that does not say, when nodes are compared."""


@dataclass(slots=True)
class Load:
    """The Pods of one node, and what they take together."""

    pods: dict[Key, Wants] = field(default_factory=dict)
    amounts: Amounts = field(default_factory=dict)
    likely: Amounts = field(default_factory=lambda: dict.fromkeys(USUAL, 0))
    """cpu and memory, with what is usual for Pods that do not say."""
    ports: list[HostPort] = field(default_factory=list)

    def add(self, pod: Wants) -> None:
        """A Pod was placed."""
        self.pods[pod.key] = pod
        for name, value in pod.demand.amounts.items():
            self.amounts[name] = self.amounts.get(name, 0) + value
        for name, usual in USUAL.items():
            self.likely[name] += pod.demand.amounts.get(name) or usual
        self.ports += pod.demand.ports

    def remove(self, pod: Wants) -> None:
        """A Pod is gone."""
        del self.pods[pod.key]
        for name, value in pod.demand.amounts.items():
            self.amounts[name] -= value
        for name, usual in USUAL.items():
            self.likely[name] -= pod.demand.amounts.get(name) or usual
        for port in pod.demand.ports:
            self.ports.remove(port)


NOTHING = Load()
"""What a node without Pods carries; never changed."""


@dataclass(slots=True)
class Site:
    """Nodes, the Pods on them, and labels of namespaces."""

    nodes: dict[str, Place] = field(default_factory=dict)
    loads: dict[str, Load] = field(default_factory=dict)
    namespaces: dict[str, Mapping[str, str]] = field(default_factory=dict)
    _placed: dict[Key, tuple[str, Wants]] = field(default_factory=dict)
    _choosy: dict[Key, tuple[str, Wants]] = field(default_factory=dict)
    """Pods with wishes about their neighbours: a newcomer has to heed them."""
    _owned: dict[str, Counter[str]] = field(default_factory=dict)
    """How many Pods of a controller are on each node."""

    def load(self, node: str) -> Load:
        """What a node carries."""
        return self.loads.get(node, NOTHING)

    def place(self, pod: Wants, node: str) -> None:
        """A Pod is on a node, which need not be known."""
        self.remove(pod.key)
        self._placed[pod.key] = (node, pod)
        if pod.apart or pod.near or pod.preferences:
            self._choosy[pod.key] = (node, pod)
        if pod.owner and not pod.leaving:
            self._owned.setdefault(pod.owner, Counter())[node] += 1
        self.loads.setdefault(node, Load()).add(pod)

    def remove(self, key: Key) -> bool:
        """A Pod is on no node any more; whether it was on one."""
        node, pod = self._placed.pop(key, ("", None))
        self._choosy.pop(key, None)
        if pod is not None:
            if pod.owner and not pod.leaving:
                self._owned[pod.owner][node] -= 1
                if not +self._owned[pod.owner]:
                    del self._owned[pod.owner]
            self.loads[node].remove(pod)
            if not self.loads[node].pods:
                del self.loads[node]
        return pod is not None

    def owned(self, controller: str) -> Mapping[str, int]:
        """How many Pods of a controller are on each node."""
        return self._owned.get(controller, {})

    def everybody(self) -> Iterator[tuple[Place, Wants]]:
        """Every Pod on a node that is known."""
        return self._on_nodes(self._placed)

    def choosy(self) -> Iterator[tuple[Place, Wants]]:
        """Those that have wishes about their neighbours."""
        return self._on_nodes(self._choosy)

    def _on_nodes(self, pods: Mapping[Key, tuple[str, Wants]]) -> Iterator[tuple[Place, Wants]]:
        for name, pod in pods.values():
            place = self.nodes.get(name)
            if place is not None:
                yield place, pod

    @contextmanager
    def supposing(self, more: Sequence[tuple[Wants, str]] = (), fewer: Sequence[Wants] = ()) -> Iterator[None]:
        """The site with Pods that are not there and without some that are; as it was afterwards."""
        taken = [(pod, self._placed[pod.key][0]) for pod in fewer if pod.key in self._placed]
        added = [(pod, node) for pod, node in more if pod.key not in self._placed]
        for pod, _ in taken:
            self.remove(pod.key)
        for pod, node in added:
            self.place(pod, node)
        try:
            yield
        finally:
            for pod, _ in added:
                self.remove(pod.key)
            for pod, node in taken:
                self.place(pod, node)
