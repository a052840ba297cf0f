"""`octoedge device get|watch NAME`: what a device should be, what it is, how old that is, and why they differ.

    octoedge device get                 all devices of the namespace
    octoedge device get thermometer     one, property by property
    octoedge device watch thermometer   a line for each new value, until Ctrl-C
    octoedge device history …, plot …   what a property said, see `commands.history`
    octoedge device demo                a simulated thermometer on the first node, until Ctrl-C

The API server is that of $KUBECONFIG, else that of the installation in $OCTOEDGE_HOME.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from octoedge.commands import history
from octoedge.errors import InstallError
from octoedge.keadm import cluster, devices, layout, sample
from octoedge.keadm.table import plain, table

ROOT = "/apis/devices.kubeedge.io/v1beta1/namespaces"
_LOOK_SECONDS = 0.5
_LIST_SECONDS = 30.0
_PAGE = 500
_WISH = """  kubectl patch device thermometer --type=json -p \\
    '[{"op": "replace", "path": "/spec/properties/1/desired/value", "value": "60"}]'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="get|watch|history|plot|demo", required=True)
    get = actions.add_parser("get", help="show devices, or one property by property")
    get.add_argument("name", nargs="?", default="", metavar="NAME")
    get.add_argument("-o", "--output", choices=("text", "json"), default="text", help="for a person, or a program")
    watch = actions.add_parser("watch", help="a line for each new value")
    watch.add_argument("name", metavar="NAME")
    watch.add_argument("--count", type=int, default=0, metavar="N", help="end after so many lines")
    demo = actions.add_parser("demo", help="a simulated thermometer with its mapper on the first node, until Ctrl-C")
    demo.add_argument("--keep", action="store_true", help="leave the Device and its model in the cluster")
    told = actions.add_parser("history", help="what a property said, where its Device has it kept")
    history.add_arguments(told, actions.add_parser("plot", help="… as a curve, in the terminal or an SVG or PNG file"))
    for action in (get, watch):
        action.add_argument("-n", "--namespace", default="default", metavar="NAMESPACE")


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "demo":
        return _demo(keep=arguments.keep)
    if arguments.action in ("history", "plot"):
        return history.show(arguments) if arguments.action == "history" else history.draw(arguments)
    api = cluster.api_server(_kubeconfig())
    if arguments.action == "watch":
        return _watch(api, arguments.namespace, arguments.name, arguments.count)
    if not arguments.name:
        return _list(api, arguments.namespace, arguments.output)
    shown = _shown(api, arguments.namespace, arguments.name)
    print(json.dumps(devices.as_json(shown), indent=1) if arguments.output == "json" else shown.text())
    return 0


def _demo(*, keep: bool) -> int:
    from octoedge.commands import demo
    from octoedge.commands.asroot import ensure_root

    ensure_root()
    known = layout.existing(os.environ)
    api = cluster.api_server(known.kubeconfig)
    there = sample.device(known)
    if there is not None and there.pid() is not None:
        print(f"the sample's thermometer is there, and stays; set it from another shell:\n{_WISH}\n", flush=True)
        return _watch(api, "default", demo.NAME, 0)
    print(f"a thermometer on node {known.node}; set it from another shell, Ctrl-C ends it:\n{_WISH}\n", flush=True)
    return demo.run(known, api, ROOT, lambda over: _watch(api, "default", demo.NAME, 0, over), keep=keep)


def _list(api: cluster.Server, namespace: str, output: str) -> int:
    shown = all_shown(api, namespace)
    if output == "json":
        print(json.dumps([devices.as_json(one) for one in shown], indent=1))
    elif not shown:
        print(f"there are no devices in namespace {namespace}")
    else:
        rows = [(one.id.partition("/")[2], one.node or "-", one.model, one.state or "-", _values(one)) for one in shown]
        print(table(("name", "node", "model", "state", "values"), rows))
    return 0


def _values(shown: devices.Shown) -> str:
    return " ".join(f"{row.name}={row.reported}{row.unit}" for row in shown.rows if row.reported)


def _watch(api: cluster.Server, namespace: str, name: str, count: int, over: Callable[[], bool] = lambda: False) -> int:
    said: dict[str, tuple[str, str, str]] = {}
    lines = 0
    while not over():
        shown = _shown(api, namespace, name)
        for what, now in _news(shown).items():
            if said.get(what) != now:
                said[what] = now
                print(
                    f"{time.strftime('%H:%M:%S')}  {what:<20} {plain('  '.join(filter(None, now)))}".rstrip(),
                    flush=True,
                )
                lines += 1
                if lines == count:
                    return 0
        time.sleep(_LOOK_SECONDS)
    return 0


def _news(shown: devices.Shown) -> dict[str, tuple[str, str, str]]:
    """What a line is printed for when it changes."""
    rows = {
        row.name: (
            f"{row.reported or '-'} {row.unit}".strip(),
            f"desired {row.desired}" if row.desired else "",
            row.note,
        )
        for row in shown.rows
    }
    return {"state": (shown.state or "unknown", "", ""), **rows}


def all_shown(api: cluster.Server, namespace: str) -> list[devices.Shown]:
    """All devices of a namespace by three lists, also where there are thousands."""
    kinds = ("devices", "devicemodels", "devicestatuses")
    found = {kind: _by_name(_listed(api, f"{ROOT}/{namespace}/{kind}")) for kind in kinds}
    models, statuses, now = found["devicemodels"], found["devicestatuses"], time.time()
    return [
        devices.shown(device, models.get(_model_of(device)), statuses.get(name), now)
        for name, device in found["devices"].items()
    ]


def _listed(api: cluster.Server, path: str) -> Iterator[dict[str, Any]]:
    more = ""
    while True:
        page = api.get(f"{path}?{urlencode({'limit': _PAGE, 'continue': more})}", _LIST_SECONDS)
        yield from page["items"]
        more = page["metadata"].get("continue", "")
        if not more:
            return


def _by_name(items: Iterable[dict[str, Any]]) -> dict[str, bytes]:
    return {one["metadata"]["name"]: json.dumps(one).encode() for one in items}


def _model_of(device: bytes) -> str:
    reference: str = (json.loads(device)["spec"].get("deviceModelRef") or {}).get("name", "")
    return reference


def _shown(api: cluster.Server, namespace: str, name: str) -> devices.Shown:
    device = api.find(f"{ROOT}/{namespace}/devices/{name}")
    if device is None:
        raise InstallError(f"there is no device {name} in namespace {namespace}; `octoedge device get` lists them")
    reference = _model_of(device)
    model = api.find(f"{ROOT}/{namespace}/devicemodels/{reference}") if reference else None
    return devices.shown(device, model, api.find(f"{ROOT}/{namespace}/devicestatuses/{name}"), time.time())


def _kubeconfig() -> Path:
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    if named:
        return Path(named)
    known = layout.load(os.environ)
    if known is None or not known.kubeconfig.exists():
        raise InstallError(f"nothing is set up in {layout.locate(os.environ)}; `octoedge up` does it.")
    return known.kubeconfig
