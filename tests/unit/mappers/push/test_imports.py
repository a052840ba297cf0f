"""A mapper pays for what its Devices push, and for nothing else."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import json, sys
from octoedge.dmi import messages as m
from octoedge.mappers.framework import rest, run
from octoedge.mappers.framework.device import device
push = m.PushMethod(database=m.PushDatabase(redis=m.Redis(m.RedisClient("r:1")))) if sys.argv[1:] else None
told = m.Device("d", m.DeviceSpec(properties=(m.DeviceProperty("p", push_method=push),)), namespace="n")
assert bool(device(told, None).properties["p"].pushes) == bool(sys.argv[1:])
print(json.dumps([name for name in sys.modules if name.startswith(("octoedge.mappers.push", "redis", "aiomysql"))]))
"""


def _imported(*arguments: str) -> list[str]:
    command = (sys.executable, "-c", PROGRAM, *arguments)
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return list(json.loads(done.stdout))


def test_a_mapper_without_pushes_imports_nothing_of_them() -> None:
    assert _imported() == []


def test_a_client_is_imported_when_it_is_used() -> None:
    assert _imported("push") == ["octoedge.mappers.push", "octoedge.mappers.push.settings"]
