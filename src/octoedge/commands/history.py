"""`octoedge device history|plot NAME PROPERTY`: what a property said, from the store that CloudCore keeps.

octoedge device history thermometer temperature --since 1h -o csv
octoedge device plot thermometer temperature --since 1d -o temperature.svg        (or .png)
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from octoedge.commands.capture import seconds
from octoedge.commands.telemetry import socket_argument, status_socket
from octoedge.errors import InstallError
from octoedge.keadm import plot, telemetry

_DAY = 86400.0


def add_arguments(history: argparse.ArgumentParser, drawn: argparse.ArgumentParser) -> None:
    history.add_argument(
        "-o", "--output", choices=("text", "json", "csv"), default="text", help="for a person, or a program"
    )
    drawn.add_argument(
        "-o", "--output", metavar="FILE", type=Path, help="a picture instead of the terminal: FILE.svg or FILE.png"
    )
    for action in (history, drawn):
        action.add_argument("name", metavar="NAME")
        action.add_argument("property", metavar="PROPERTY")
        action.add_argument("-n", "--namespace", default="default", metavar="NAMESPACE")
        action.add_argument("--since", type=age, default=3600.0, metavar="TIME", help="30s, 5m, 1h, 7d (1h)")
        socket_argument(action)


def age(text: str) -> float:
    """`90`, `90s`, `5m`, `1h` or `7d`: seconds."""
    try:
        return seconds(text[:-1]) * _DAY if text[-1:].lower() == "d" else seconds(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30s, 5m, 1h or 7d") from error


def show(arguments: argparse.Namespace) -> int:
    """Every value, a line each."""
    found = _asked(arguments)
    if arguments.output == "json":
        rows = [
            {"time": telemetry.moment(at), "value": value} for at, value in zip(found.times, found.values, strict=True)
        ]
        print(json.dumps(rows, indent=1))
    elif arguments.output == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("time", "value"))
        writer.writerows((telemetry.moment(at), value) for at, value in zip(found.times, found.values, strict=True))
    else:
        print("\n".join(telemetry.lines(found)) or f"{_what(arguments)} said nothing in that time")
    if found.cut:
        print(f"these are the latest {len(found.times)}; ask for less at a time: --since", file=sys.stderr)
    return 0


def draw(arguments: argparse.Namespace) -> int:
    """A curve, in the terminal or a file."""
    found = _asked(arguments)
    points = plot.points(found.times, found.values)
    if not points:
        raise InstallError(
            f"{_what(arguments)} said no number in that time; `octoedge device history` shows what it said"
        )
    title = f"{arguments.name} {arguments.property}"
    if arguments.output is None:
        size = shutil.get_terminal_size()
        print(plot.braille(points, title, size.columns, min(size.lines - 4, 20)))
        return 0
    picture = _PICTURES.get(arguments.output.suffix.lower())
    if picture is None:
        raise InstallError(f"{arguments.output} is none of {', '.join(_PICTURES)}; name the file so")
    data = picture(points, title)
    try:
        arguments.output.write_bytes(data)
    except OSError as error:
        raise InstallError(f"{arguments.output} cannot be written: {error.strerror}") from error
    print(arguments.output)
    return 0


def _svg(points: plot.Points, title: str) -> bytes:
    return plot.svg(points, title).encode()


def _png(points: plot.Points, title: str) -> bytes:
    from octoedge.keadm import plotpng

    return plotpng.png(points, title)


_PICTURES: dict[str, Callable[[plot.Points, str], bytes]] = {".svg": _svg, ".png": _png}


def _asked(arguments: argparse.Namespace) -> telemetry.History:
    now = time.time()
    device = f"{arguments.namespace}/{arguments.name}"
    since = int((now - arguments.since) * 1000)
    return telemetry.history(
        status_socket(arguments.socket), device, arguments.property, max(0, since), int(now * 1000) + 86_400_000
    )


def _what(arguments: argparse.Namespace) -> str:
    return f"{arguments.property} of device {arguments.name}"
