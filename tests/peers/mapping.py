"""What is told of mappers: ours and KubeEdge's, at EdgeCore of either make, behind CloudCore of either make.

Each case makes its own devices and takes them away. A counter shows whether a device lives on: it begins anew when its
mapper begins it anew.
"""

from __future__ import annotations

import time
from typing import Protocol

from octoedge.testing.eventually import eventually
from octoedge.testing.peers.cell import Cell

from .mappers import (
    Mapper,
    applied,
    apply,
    await_no_status,
    await_progress,
    await_report,
    begin,
    delete,
    device,
    model,
    reported,
    running,
    wish,
)

MANY = 50
WORKING = ("online", "ok")


class Told(Protocol):
    """A case."""

    def __call__(self, cell: Cell, *, go: bool) -> None: ...


def tell(case: Told, cell: Cell, *, go: bool) -> None:
    """One case at an EdgeCore that remembers none before it."""
    begin(cell)
    case(cell, go=go)


def life(cell: Cell, *, go: bool) -> None:
    """The mapper is there first; then a device comes, changes, is wished for, fails, and goes."""
    with running(cell, go=go) as mapper, applied(cell, model(mapper, "m-life"), device(mapper, "life", "m-life")):
        first = await_report(cell, "life", note="hello")
        await_progress(cell, "life", int(first.get("ticks") or -1))
        eventually(lambda: reported(cell, "life")["state"], lambda state: state in WORKING, within=60)
        wish(cell, "life", "changed")
        await_report(cell, "life", note="changed")
        assert mapper.value("life", "note") == "changed"
        if go:  # the device of that word is its driver's
            wish(cell, "life", "fail")
            await_report(cell, "life", state="unhealthy")
            wish(cell, "life", "well")
            eventually(lambda: reported(cell, "life")["state"], lambda state: state in WORKING, within=60)
        _model_changes(cell, mapper)
        delete(cell, "Device", ["life"])
        await_no_status(cell, "life")
        eventually(lambda: not mapper.knows("life"), within=30)


def _model_changes(cell: Cell, mapper: Mapper) -> None:
    """The mapper's REST door shows the model as it is now, and one more property of the device works."""
    changed, wider = model(mapper, "m-life"), device(mapper, "life", "m-life", note="well")
    changed["spec"]["properties"].append({"name": "more", "type": "STRING", "accessMode": "ReadWrite", "unit": "words"})
    wider["spec"]["properties"].append({**wider["spec"]["properties"][1], "name": "more"})
    apply(cell, changed, wider)
    described = eventually(lambda: _units(mapper, "life"), lambda units: "more" in units, within=30)
    assert described["more"] == "words"
    await_report(cell, "life", more="well")


def _units(mapper: Mapper, name: str) -> dict[str, str]:
    found = mapper.ask(f"meta/model/default/{name}")["properties"]
    return {one["name"]: one.get("unit", "") for one in found}


def model_changed(cell: Cell, *, go: bool) -> None:
    """A property gets another type, and nothing is done to the device: the mapper works with the new type."""
    with running(cell, go=go) as mapper, applied(cell, model(mapper, "m-mc"), device(mapper, "mc", "m-mc")):
        await_report(cell, "mc", note="hello")
        changed = model(mapper, "m-mc")
        changed["spec"]["properties"][0]["type"] = "DOUBLE"
        apply(cell, changed)
        kind = "device/default/mc/ticks"
        eventually(lambda: mapper.ask(kind)["Data"]["Type"], lambda told: told == "double", within=30)
        await_progress(cell, "mc", -1)


def not_in_model(cell: Cell, *, go: bool) -> None:
    """A device with a property that its model has not: the mapper lives, and the others of the device work.

    The last case: a Go EdgeCore hands a device that was deleted while its mapper was dead to the mapper evermore.
    """
    with running(cell, go=go) as mapper:
        odd = device(mapper, "odd", "m-odd")
        odd["spec"]["properties"].append({**odd["spec"]["properties"][1], "name": "nott"})
        with applied(cell, model(mapper, "m-odd"), odd):
            await_progress(cell, "odd", await_progress(cell, "odd", -1, within=20), within=20)
            await_report(cell, "odd", note="hello", within=20)


def late(cell: Cell, *, go: bool) -> None:
    """Devices are there before their mapper."""
    mapper = Mapper(cell, go)
    with applied(cell, model(mapper, "m-late"), device(mapper, "late", "m-late")):
        eventually(lambda: cell.get("device", "late"), within=30)
        with running(cell, go=go):
            await_progress(cell, "late", await_progress(cell, "late", -1))
            await_report(cell, "late", note="hello")


def mapper_killed(cell: Cell, *, go: bool) -> None:
    """While the mapper is dead one device is wished for, one deleted, one made; it comes back knowing all of it."""
    with running(cell, go=go) as mapper:
        kept, gone, new = (device(mapper, f"mk-{name}", "m-mk") for name in ("kept", "gone", "new"))
        with applied(cell, model(mapper, "m-mk"), kept, gone):
            await_report(cell, "mk-kept", note="hello")
            await_report(cell, "mk-gone", note="hello")
            mapper.kill()
            wish(cell, "mk-kept", "meanwhile")
            delete(cell, "Device", ["mk-gone"])
            with applied(cell, new):
                await_no_status(cell, "mk-gone")
                mapper.start()
                await_report(cell, "mk-kept", note="meanwhile")
                await_report(cell, "mk-new", note="hello")
                assert not mapper.knows("mk-gone")


def edge_killed(cell: Cell, *, go: bool) -> None:
    """EdgeCore dies and comes back under a running mapper: nothing begins anew, and what changes then arrives."""
    with running(cell, go=go) as mapper:
        first, gone, new = (device(mapper, f"ek-{name}", "m-ek") for name in ("first", "gone", "new"))
        with applied(cell, model(mapper, "m-ek"), first, gone):
            before = await_progress(cell, "ek-first", 4)
            await_report(cell, "ek-gone", note="hello")
            cell.edge.edgecore.kill()
            cell.edge.edgecore.start()
            cell.await_contact(within=90)
            await_progress(cell, "ek-first", before)
            assert int(mapper.value("ek-first", "ticks")) > before, "the device began anew"
            wish(cell, "ek-first", "afterwards")
            await_report(cell, "ek-first", note="afterwards")
            delete(cell, "Device", ["ek-gone"])
            with applied(cell, new):
                await_report(cell, "ek-new", note="hello")
                eventually(lambda: not mapper.knows("ek-gone"), within=30)


def cloud_away(cell: Cell, *, go: bool) -> None:
    """Without the cloud mapper and EdgeCore die and come back: the devices work; a wish of that time arrives later."""
    with running(cell, go=go) as mapper, applied(cell, model(mapper, "m-ca"), device(mapper, "away", "m-ca")):
        await_report(cell, "away", note="hello")
        cell.edge.cut()
        try:
            wish(cell, "away", "later")
            mapper.kill()
            mapper.start()
            eventually(lambda: mapper.knows("away"), within=60)
            mapper.kill()
            cell.edge.edgecore.kill()
            cell.edge.edgecore.start()
            mapper.start()
            eventually(lambda: mapper.knows("away"), within=60)
            assert mapper.value("away", "note") == "hello"
        finally:
            cell.edge.mend()
        cell.await_contact(within=150)
        await_report(cell, "away", note="later", within=150)


def rest(cell: Cell, *, go: bool) -> None:
    """Its REST door: both makes answer alike."""
    with running(cell, go=go) as mapper, applied(cell, model(mapper, "m-rest"), device(mapper, "rest", "m-rest")):
        await_report(cell, "rest", note="hello")
        read = mapper.ask("device/default/rest/note")
        assert set(read) == {"apiVersion", "statusCode", "timeStamp", "Data"}, read
        data = read["Data"]
        assert (data.pop("TimeStamp") > 1e12) is True, read
        assert data == {
            "DeviceName": "rest", "PropertyName": "note", "Namespace": "default", "Value": "hello", "Type": "string"
        }  # fmt: skip
        path = "/api/v1/devicemethod/default/rest/set/{propertyName}/{data}"
        parameters = [{"PropertyName": "note", "ValueType": "string"}]
        methods = mapper.ask("devicemethod/default/rest")["Data"]["Methods"]
        assert methods == [{"Name": "set", "Path": path, "Parameters": parameters}], methods
        described = mapper.ask("meta/model/default/rest")
        assert (described["name"], described["namespace"], described["id"]) == ("m-rest", "default", "default/m-rest")
        first = described["properties"][0]
        assert (first["name"], first["dataType"].lower(), first["accessMode"]) == ("ticks", "int", "ReadOnly"), first
        mapper.ask("devicemethod/default/rest/set/note/by-hand")
        await_report(cell, "rest", note="by-hand")
        for path in ("device/default/nobody/note", "devicemethod/default/rest/nothing/note/x"):
            assert _refused(mapper, path), f"{path} was answered"


def _refused(mapper: Mapper, path: str) -> bool:
    try:
        mapper.ask(path)
    except AssertionError as refused:
        return "answered 500" in str(refused)
    return False


def many(cell: Cell, *, go: bool) -> None:
    """Fifty devices at once, all of them heard; then all away."""
    with running(cell, go=go) as mapper:
        devices = [device(mapper, f"many-{number}", "m-many", cycle=15_000) for number in range(MANY)]
        with applied(cell, model(mapper, "m-many"), *devices):
            names = [one["metadata"]["name"] for one in devices]
            end = time.monotonic() + 120
            for name in names:
                await_report(cell, name, note="hello", within=max(0.0, end - time.monotonic()))
        for name in names:
            await_no_status(cell, name)
        eventually(lambda: not any(mapper.knows(name) for name in names), within=60)


CASES: tuple[tuple[str, Told], ...] = (
    ("first a mapper, then its device", life),
    ("first a device, then its mapper", late),
    ("a device's model changed", model_changed),
    ("mapper killed, devices changed", mapper_killed),
    ("EdgeCore killed under a mapper", edge_killed),
    ("mapper and EdgeCore without cloud", cloud_away),
    ("mapper's REST door", rest),
    (f"{MANY} devices of a mapper", many),
    ("a property that the model has not", not_in_model),
)
