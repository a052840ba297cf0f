"""What a Pod takes from a node: amounts of resources and ports of the host. Pure.

Amounts are whole numbers of billionths, the smallest unit that a quantity can say; so sums are exact and quick.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from octoedge.apiserver.scheduling.placing.podview import PlacedContainer, PlacedPod
from octoedge.apiserver.schema.quantity import parse

UNIT = 10**9
DEFAULT_MAX_PODS = 110
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 (compared, never bound)

Amounts = dict[str, int]


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the host that a container takes."""

    protocol: str
    port: int
    address: str = ANY_ADDRESS

    def clashes(self, other: HostPort) -> bool:
        """Whether both cannot be had on one node."""
        same = (self.protocol, self.port) == (other.protocol, other.port)
        return same and (self.address == other.address or ANY_ADDRESS in (self.address, other.address))


@dataclass(frozen=True, slots=True)
class Demand:
    """What a Pod takes from a node, besides its place among the Pods."""

    amounts: Mapping[str, int] = field(default_factory=dict)
    ports: tuple[HostPort, ...] = ()


def demand_of(pod: PlacedPod) -> Demand:
    """What a Pod asks for, with the overhead of its runtime class."""
    before = [(_asked(container), container.restart_policy == "Always") for container in pod.spec.init_containers]
    total = together([_asked(container) for container in pod.spec.containers], before)
    _add(total, amounts_of({name: str(value) for name, value in pod.spec.overhead.items()}))
    return _shared(tuple((name, value) for name, value in sorted(total.items()) if value), tuple(_ports(pod)))


def together(containers: Iterable[Amounts], before: Iterable[tuple[Amounts, bool]]) -> Amounts:
    """What containers take from a node, and those before them, of which each is a sidecar or not.

    Containers and sidecars run together; an init container runs beside the sidecars before it. What is more of both
    counts.
    """
    running: Amounts = {}
    sidecars: Amounts = {}
    most: Amounts = {}
    for asked, is_sidecar in before:
        if is_sidecar:
            _add(sidecars, asked)
        alone = {} if is_sidecar else asked
        for name in {*sidecars, *alone}:
            most[name] = max(most.get(name, 0), sidecars.get(name, 0) + alone.get(name, 0))
    for asked in containers:
        _add(running, asked)
    _add(running, sidecars)
    return {name: max(running.get(name, 0), most.get(name, 0)) for name in {*running, *most}}


def amounts_of(quantities: Mapping[str, str]) -> Amounts:
    """Quantities as whole numbers, rounded up. `ValueError` for what is none."""
    return {name: _units(value) for name, value in quantities.items()}


@lru_cache(maxsize=2048)
def _units(quantity: str) -> int:
    return -(-parse(quantity) * UNIT // 1)


@lru_cache(maxsize=1024)
def _shared(amounts: tuple[tuple[str, int], ...], ports: tuple[HostPort, ...]) -> Demand:
    """Thousands of Pods of the same few templates want the same: it is kept once."""
    return Demand(dict(amounts), ports)


def _asked(container: PlacedContainer) -> Amounts:
    resources = container.resources
    return amounts_of({name: str(value) for name, value in {**resources.limits, **resources.requests}.items()})


def _add(amounts: Amounts, more: Mapping[str, int]) -> None:
    for name, value in more.items():
        amounts[name] = amounts.get(name, 0) + value


def _ports(pod: PlacedPod) -> Iterable[HostPort]:
    sidecars = [one for one in pod.spec.init_containers if one.restart_policy == "Always"]
    for container in [*pod.spec.containers, *sidecars]:
        for port in container.ports:
            number = port.host_port or (port.container_port if pod.spec.host_network else 0)
            if number:
                yield HostPort(port.protocol or "TCP", number, port.host_ip or ANY_ADDRESS)
