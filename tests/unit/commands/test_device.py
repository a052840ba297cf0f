"""`octoedge device get`: all devices by a few lists."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

from octoedge.commands import device
from octoedge.keadm import cluster


class Paged(cluster.Server):
    """An API server of which a page has 500 items, and what it was asked."""

    objects: dict[str, list[dict[str, Any]]]
    asked: list[str]

    def read(self, path: str, timeout: float = 5) -> tuple[int, bytes]:
        parts = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.asked.append(path)
        at, limit = int(query.get("continue") or 0), int(query["limit"])
        found = self.objects[parts.path.rsplit("/", 1)[1]]
        more = str(at + limit) if at + limit < len(found) else ""
        return 200, json.dumps({"items": found[at : at + limit], "metadata": {"continue": more}}).encode()


def _object(name: str, **parts: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "plant"}, **parts}


def test_thousands_of_devices_are_listed_not_asked_for_one_by_one() -> None:
    api = Paged("nobody", 1)
    api.__dict__["asked"] = []
    spec = {"deviceModelRef": {"name": "pump"}, "nodeName": "edge-1", "properties": [{"name": "flow"}]}
    twins = [{"propertyName": "flow", "reported": {"value": "7"}}]
    api.__dict__["objects"] = {
        "devices": [_object(f"p{number}", spec=spec) for number in range(1200)],
        "devicemodels": [_object("pump", spec={"properties": [{"name": "flow", "unit": "l"}]})],
        "devicestatuses": [_object("p1100", status={"state": "online", "twins": twins})],
    }
    shown = {one.id: one for one in device.all_shown(api, "plant")}
    assert len(api.asked) == 5
    assert len(shown) == 1200
    told = shown["plant/p1100"]
    assert (told.state, told.rows[0].reported, told.rows[0].unit) == ("online", "7", "l")
    assert shown["plant/p1"].rows[0].reported == ""
