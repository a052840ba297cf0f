"""Placement keeps every promise whatever it is asked, says why not in known words, and answers the same every time."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.api.core import Node, view
from octoedge.apiserver.scheduling.placement import Unplaceable, choose, make_room
from octoedge.apiserver.scheduling.placing.nodes import place_of
from octoedge.apiserver.scheduling.placing.pod import Wants, read
from octoedge.apiserver.scheduling.placing.preemption import Budget, Room
from octoedge.apiserver.scheduling.placing.site import Site
from octoedge.kube.selector import EVERYTHING

Json = dict[str, Any]
HOST = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"


def node(name: str, *, taints: Any = (), ready: str = "True", labels: Any = None, **room: str) -> Node:
    allocatable = {"cpu": "2", "memory": "1Gi", "pods": "110", **room}
    return view(
        Node,
        msgspec.json.encode(
            {
                "metadata": {"name": name, "labels": {HOST: name, **(labels or {})}},
                "spec": {"taints": list(taints)},
                "status": {"allocatable": allocatable, "conditions": [{"type": "Ready", "status": ready}]},
            }
        ),
    )


def pod(name: str = "p", *, labels: Json | None = None, requests: Json | None = None, **spec: Any) -> Wants:
    container = {"name": "c", "resources": {"requests": requests or {}}, "ports": spec.pop("ports", [])}
    about = {"name": name, "namespace": spec.pop("namespace", "default"), "labels": labels or {}, "uid": name}
    return read(msgspec.json.encode({"metadata": about, "spec": {"containers": [container], **spec}}))


def site(*nodes: Node) -> Site:
    return Site(nodes={one.metadata.name: place_of(one) for one in nodes})


def why(wanted: Wants, where: Site) -> str:
    chosen = choose(wanted, where)
    assert isinstance(chosen, Unplaceable), chosen
    return chosen.message


def term(app: str, topology: str = HOST, **more: Any) -> Json:
    return {"topologyKey": topology, "labelSelector": {"matchLabels": {"app": app}}, **more}


def affinity(kind: str, *terms: Json) -> Json:
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": list(terms)}}


def test_the_least_used_ready_node_is_taken() -> None:
    where = site(node("a"), node("b"), node("c", ready="Unknown"))
    where.place(pod("one"), "a")
    assert choose(pod(), where) == "b"
    where.place(pod("two"), "b")
    where.place(pod("three"), "b")
    assert choose(pod(), where) == "a"


def test_it_says_why_in_known_words() -> None:
    assert why(pod(), site()) == "no nodes available to schedule pods"
    gone = site(
        node("a", ready="Unknown"), node("b"), node("c", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}])
    )
    assert why(pod(requests={"cpu": "3", "example.com/gpu": 1}), gone) == (
        "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient example.com/gpu, "
        "1 node(s) had untolerated taint {k: v}, "
        "1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }."
    )
    assert why(pod(nodeSelector={"a": "b"}), site(node("a"))).endswith("didn't match Pod's node affinity/selector.")
    assert why(pod(), site(node("a", pods="0"))) == "0/1 nodes are available: 1 Too many pods."


def test_what_containers_ask_for_together() -> None:
    def asking(cpu: str, **more: Any) -> Json:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    sidecar = asking("300m", restartPolicy="Always")
    data = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {
            "initContainers": [asking("900m"), sidecar, asking("800m")],
            "containers": [asking("400m"), {"name": "d", "resources": {"limits": {"cpu": "100m"}}}],
            "overhead": {"cpu": "50m"},
        },
    }
    assert read(msgspec.json.encode(data)).demand.amounts == {"cpu": 1150 * 10**6}
    data["spec"]["initContainers"] = [sidecar, asking("100m")]  # type: ignore[index]
    assert read(msgspec.json.encode(data)).demand.amounts == {"cpu": 850 * 10**6}


@pytest.mark.parametrize(
    ("first", "second", "fits"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 80, "protocol": "UDP"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.2"}, True),
        ({"hostPort": 80, "hostIP": "10.0.0.1"}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {}, True),
    ],
)
def test_a_host_port_is_given_once(first: Json, second: Json, fits: bool) -> None:
    where = site(node("a"))
    where.place(pod("one", ports=[{"containerPort": 80, **first}]), "a")
    wanted = pod("two", ports=[{"containerPort": 80, **second}])
    if fits:
        assert choose(wanted, where) == "a"
    else:
        assert "free ports for the requested pod ports" in why(wanted, where)
        where.remove(("default", "one"))
        assert choose(wanted, where) == "a"


def test_node_affinity() -> None:
    where = site(node("a", labels={"disk": "ssd", "cores": "4"}), node("b", labels={"disk": "hdd", "cores": "8"}))

    def wanting(*terms: Json) -> Wants:
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
        return pod(affinity={"nodeAffinity": required})

    def one(key: str, operator: str, *values: str) -> Json:
        return {"key": key, "operator": operator, "values": list(values)}

    assert choose(wanting({}, {"matchExpressions": [one("disk", "In", "hdd")]}), where) == "b"
    assert choose(wanting({"matchExpressions": [one("cores", "Lt", "8")]}), where) == "a"
    assert choose(wanting({"matchFields": [one("metadata.name", "In", "b")]}), where) == "b"
    both = {"matchExpressions": [one("disk", "Exists")], "matchFields": [one("metadata.name", "NotIn", "a", "b")]}
    assert "node affinity" in why(wanting(both), where)
    assert "node affinity" in why(wanting({}), where)
    preferred = [{"weight": 1, "preference": {"matchExpressions": [one("disk", "In", "hdd")]}}]
    liking = pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}})
    assert choose(liking, where) == "b"


def test_affinity_between_pods() -> None:
    where = site(node("a", labels={ZONE: "x"}), node("b", labels={ZONE: "x"}), node("c", labels={ZONE: "y"}))
    where.place(pod("web", labels={"app": "web"}), "c")
    assert choose(pod(affinity=affinity("podAffinity", term("web"))), where) == "c"
    assert choose(pod(affinity=affinity("podAntiAffinity", term("web", ZONE))), where) == "a"
    assert "pod affinity rules" in why(pod(affinity=affinity("podAffinity", term("db"))), where)
    herd = affinity("podAffinity", term("herd", ZONE))
    assert choose(pod(labels={"app": "herd"}, affinity=herd), where) == "a"
    where.place(pod("herd", labels={"app": "herd"}, affinity=herd), "c")
    assert choose(pod(labels={"app": "herd"}, affinity=herd), where) == "c"
    nowhere = affinity("podAntiAffinity", term("web", ZONE), term("other", ZONE))
    where.place(pod("other", labels={"app": "other"}), "a")
    assert why(pod(affinity=nowhere), where).endswith("3 node(s) didn't match pod anti-affinity rules.")


def test_who_wants_to_be_alone_is_left_alone() -> None:
    where = site(node("a"))
    where.place(pod("hermit", affinity=affinity("podAntiAffinity", term("noisy"))), "a")
    assert why(pod(labels={"app": "noisy"}), where) == (
        "0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."
    )
    assert choose(pod(labels={"app": "noisy"}, namespace="other"), where) == "a"


def test_neighbours_of_other_namespaces() -> None:
    where = site(node("a"))
    where.namespaces |= {"default": {}, "team": {"team": "x"}}
    where.place(pod("web", labels={"app": "web"}, namespace="team"), "a")
    assert choose(pod(affinity=affinity("podAntiAffinity", term("web"))), where) == "a"
    spaces: list[dict[str, Any]] = [
        {"namespaces": ["team"]},
        {"namespaceSelector": {"matchLabels": {"team": "x"}}},
        {"namespaceSelector": {}},
    ]
    for named in spaces:
        assert "anti-affinity" in why(pod(affinity=affinity("podAntiAffinity", term("web", **named))), where)


def test_spread() -> None:
    where = site(node("a", labels={ZONE: "x"}), node("b", labels={ZONE: "y"}), node("c"))

    def even(**more: Any) -> Wants:
        constraint = {
            "maxSkew": 1,
            "topologyKey": ZONE,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "w"}},
        }
        return pod(labels={"app": "w"}, topologySpreadConstraints=[constraint | more])

    where.place(pod("one", labels={"app": "w"}), "a")
    assert choose(even(), where) == "b"
    where.nodes["b"] = place_of(node("b", cpu="0", labels={ZONE: "y"}, pods="0"))
    assert why(even(), where) == (
        "0/3 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints, "
        "1 node(s) didn't match pod topology spread constraints (missing required label)."
    )
    assert choose(even(whenUnsatisfiable="ScheduleAnyway"), where) in ("a", "c")
    assert choose(even(maxSkew=2), where) == "a"
    assert "topology spread" in why(even(maxSkew=1, minDomains=3), where)


def test_taints() -> None:
    where = site(node("a", taints=[{"key": "k", "value": "v", "effect": "PreferNoSchedule"}]), node("b"))
    for number in range(3):
        where.place(pod(f"p{number}"), "b")
    assert choose(pod(), where) == "b"
    where = site(node("a", taints=[{"key": "k", "value": "v", "effect": "NoExecute"}]))
    assert choose(pod(tolerations=[{"operator": "Exists"}]), where) == "a"
    assert choose(pod(tolerations=[{"key": "k", "value": "v"}]), where) == "a"
    assert "untolerated" in why(pod(tolerations=[{"key": "k", "value": "w"}]), where)
    assert "untolerated" in why(pod(tolerations=[{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]), where)


def test_room_is_made_by_the_least_important() -> None:
    where = site(node("a"), node("b"), node("c", taints=[{"key": "k", "effect": "NoSchedule"}]))
    for name, home, priority in (("a1", "a", 1), ("a2", "a", 2), ("b1", "b", 3), ("b2", "b", 0)):
        where.place(pod(name, requests={"cpu": "1"}, priority=priority), home)
    boss = pod("boss", requests={"cpu": "1"}, priority=10)
    refused = choose(boss, where)
    assert isinstance(refused, Unplaceable)
    room = make_room(boss, where, refused, [])
    assert isinstance(room, Room)
    assert (room.node, [one.key[1] for one in room.victims]) == ("b", ["b2"])
    kept = make_room(boss, where, refused, [Budget("default", EVERYTHING, 0)])
    assert isinstance(kept, Room), "where no way is left, budgets are broken"
    equal = pod("equal", requests={"cpu": "1"}, priority=0)
    assert make_room(equal, where, refused, []) == (
        "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, "
        "2 No preemption victims found for incoming pod."
    )


APPS = ("x", "y")
_requests = st.fixed_dictionaries({"cpu": st.integers(0, 1500).map(lambda one: f"{one}m")})
_terms = st.builds(term, st.sampled_from(APPS), st.sampled_from([HOST, ZONE]))


@st.composite
def _pods(draw: st.DrawFn) -> list[Wants]:
    found = []
    for number in range(draw(st.integers(1, 14))):
        spec: Json = {"priority": draw(st.integers(0, 2))}
        if draw(st.booleans()):
            spec["affinity"] = affinity("podAntiAffinity", draw(_terms))
        elif draw(st.booleans()):
            spec["affinity"] = affinity("podAffinity", draw(_terms))
        if draw(st.booleans()):
            spec["ports"] = [{"containerPort": 1, "hostPort": draw(st.integers(80, 81))}]
        if draw(st.booleans()):
            spec["tolerations"] = [{"operator": "Exists"}]
        if draw(st.booleans()):
            constraint = {
                "maxSkew": 1,
                "topologyKey": ZONE,
                "labelSelector": {"matchLabels": {"app": draw(st.sampled_from(APPS))}},
            }
            spec["topologySpreadConstraints"] = [{**constraint, "whenUnsatisfiable": "DoNotSchedule"}]
        found.append(pod(f"p{number}", labels={"app": draw(st.sampled_from(APPS))}, requests=draw(_requests), **spec))
    return found


_TAINT = [{"key": "k", "value": "v", "effect": "NoSchedule"}]
_nodes = st.lists(
    st.tuples(st.sampled_from(["x", "y", ""]), st.booleans(), st.integers(1, 4)), min_size=1, max_size=4
).map(
    lambda kinds: [
        node(f"n{index}", labels={ZONE: zone} if zone else {}, taints=_TAINT if tainted else (), pods=str(pods))
        for index, (zone, tainted, pods) in enumerate(kinds)
    ]
)


def domain(where: Site, name: str, key: str) -> str | None:
    return where.nodes[name].labels.get(key)


def assert_all_is_well(where: Site, placed: dict[str, tuple[Wants, str]]) -> None:
    """The promises, checked one by one in the plainest way."""
    for name, place in where.nodes.items():
        here = [one for one, home in placed.values() if home == name]
        assert len(here) <= place.room["pods"]
        assert sum(one.demand.amounts.get("cpu", 0) for one in here) <= place.room["cpu"]
        ports = [port for one in here for port in one.demand.ports]
        assert len(ports) == len(set(ports))
        assert not place.taints or all(one.tolerations for one in here)
    for one, home in placed.values():
        for wish in one.apart:
            assert wish.selector is not None
            for other, there in placed.values():
                together = domain(where, home, wish.topology) is not None
                together = together and domain(where, home, wish.topology) == domain(where, there, wish.topology)
                assert other is one or not together or not wish.selector.matches(other.labels)


@settings(max_examples=200, deadline=None)
@given(_nodes, _pods())
def test_every_promise_is_kept(nodes: list[Node], pods: list[Wants]) -> None:
    where, again = site(*nodes), site(*reversed(nodes))
    placed: dict[str, tuple[Wants, str]] = {}
    for wanted in pods:
        chosen = choose(wanted, where)
        same = choose(wanted, again)
        assert chosen == same if isinstance(chosen, str) else isinstance(same, Unplaceable)
        if isinstance(chosen, str):
            where.place(wanted, chosen)
            again.place(wanted, chosen)
            placed[wanted.key[1]] = (wanted, chosen)
        else:
            room = make_room(wanted, where, chosen, [])
            if isinstance(room, Room):
                assert all(one.priority < wanted.priority for one in room.victims)
                for one in room.victims:
                    del placed[one.key[1]]
                    where.remove(one.key)
                    again.remove(one.key)
                where.place(wanted, room.node)
                again.place(wanted, room.node)
                placed[wanted.key[1]] = (wanted, room.node)
        assert_all_is_well(where, placed)


@given(_nodes, _pods())
def test_supposing_leaves_no_trace(nodes: list[Node], pods: list[Wants]) -> None:
    where = site(*nodes)
    for number, one in enumerate(pods):
        where.place(one, f"n{number % 3}")
    before = {
        name: (set(load.pods), {k: v for k, v in load.amounts.items() if v}, sorted(map(str, load.ports)))
        for name, load in where.loads.items()
    }
    with where.supposing(more=[(pod("more"), "n0")], fewer=pods[::2]):
        pass
    after = {
        name: (set(load.pods), {k: v for k, v in load.amounts.items() if v}, sorted(map(str, load.ports)))
        for name, load in where.loads.items()
    }
    assert before == after
