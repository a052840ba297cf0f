"""Imports go down the floors, and the agent imports nothing that it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EDGE = ROOT / "src" / "octoedge" / "edge"

NEVER_IN_THE_AGENT = (
    "aiohttp", "cryptography", "uvloop", "kubernetes_validate", "pydantic", "multiprocessing", "xml", "hypothesis",
    "octoedge.cloud", "octoedge.kube.access", "octoedge.kube.client", "octoedge.kube.informer", "octoedge.kube.patch",
    "octoedge.apiserver", "octoedge.keadm", "octoedge.testing", "octoedge.pki.x509",
    "websockets.asyncio", "websockets.sync", "grpc", "importlib.metadata", "difflib",
)  # fmt: skip
"""Each costs the agent memory (cryptography 14 MiB, aiohttp 14, websockets.asyncio 1) or does not belong there."""

WHEN_IT_IS_USED = (
    "octoedge.edge.devicetwin.desk", "octoedge.edge.devicetwin.records", "octoedge.edge.devicetwin.twin",
    "octoedge.edge.edged.csi", "octoedge.edge.edged.csidrivers", "octoedge.edge.edged.csivolume",
    "octoedge.edge.edgedns", "octoedge.edge.eventbus.own", "octoedge.edge.metamanager.metaserver",
    "octoedge.edge.telemetry.outbox", "octoedge.edge.telemetry.sender",
    "octoedge.protocol.application", "octoedge.protocol.capture", "octoedge.protocol.redaction",
    "octoedge.protocol.telemetry", "octoedge.runtime.memory", "octoedge.transport.http_server",
    "octoedge.transport.hijack",
)  # fmt: skip
"""A node without devices, CSI drivers, MetaServer, captures pays for none of them: it holds 17.2 MiB of its own."""


def edge_modules() -> list[str]:
    """Every module of the agent: all of the room `edge`."""
    files = sorted(EDGE.rglob("*.py"))
    parts = [file.relative_to(EDGE.parents[1]).with_suffix("").parts for file in files]
    return [".".join(part for part in names if part != "__init__") for names in parts]


def imported_by(code: str) -> set[str]:
    """Names of all modules that a fresh interpreter has after running `code`."""
    program = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60, cwd=ROOT
    )
    return set(json.loads(result.stdout))


def found(modules: set[str], forbidden: str) -> bool:
    return any(name == forbidden or name.startswith(forbidden + ".") for name in modules)


def test_the_contracts_between_floors_and_rooms_are_kept() -> None:
    program = str(Path(sys.executable).with_name("lint-imports"))
    result = subprocess.run([program], capture_output=True, text=True, timeout=110, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stdout[-3000:]
    assert "0 broken" in result.stdout


@pytest.fixture(scope="module")
def agent() -> set[str]:
    """What the whole agent imports, everything switched on."""
    modules = edge_modules()
    assert len(modules) > 30
    return imported_by("\n".join(f"import {module}" for module in modules))


@pytest.mark.parametrize("forbidden", NEVER_IN_THE_AGENT)
def test_the_agent_does_not_import(agent: set[str], forbidden: str) -> None:
    assert not found(agent, forbidden)


def test_an_agent_that_was_put_together_from_a_file_has_not_imported_more(tmp_path: Path) -> None:
    file = tmp_path / "edgecore.yaml"
    file.write_text(
        f"database: {{dataSource: {tmp_path}/edgecore.db}}\n"
        f"modules: {{edged: {{rootDirectory: {tmp_path}/kubelet}}, edgeStream: {{enable: true}}}}\n"
    )
    code = f"""
from pathlib import Path
from octoedge.api.config.load import load_edgecore
from octoedge.edge.edgecore import build
core = build(load_edgecore({str(file)!r}), Path({str(file)!r}))
core.metamanager.close()
"""
    modules = imported_by(code)
    assert found(modules, "octoedge.edge.edgestream.tunnel")
    assert [name for name in NEVER_IN_THE_AGENT if found(modules, name)] == []


def test_an_agent_with_what_is_on_by_default_pays_for_no_dataclass_and_no_syntax_tree(tmp_path: Path) -> None:
    """`inspect` and what it imports cost 0.7 MiB, `ctypes` 0.2, each dataclass 13 KiB where a Struct costs 2."""
    file = tmp_path / "edgecore.yaml"
    file.write_text(
        f"database: {{dataSource: {tmp_path}/edgecore.db}}\n"
        f"modules: {{edged: {{rootDirectory: {tmp_path}/kubelet}}, edgeStream: {{enable: true}},\n"
        f"  deviceTwin: {{dmiSockPath: {tmp_path}}}}}\n"
    )
    code = f"""
from octoedge.commands.later import postpone
postpone()
from pathlib import Path
from octoedge.commands.edgecore import _read_in_child
config = _read_in_child(Path({str(file)!r}))
import asyncio
from octoedge.edge.edgecore import build
from octoedge.commands.program import stop_on_signals
core = build(config, Path({str(file)!r}))
core.metamanager.close()
async def until_signals() -> None:
    stop_on_signals(print)
asyncio.run(until_signals())
"""
    modules = imported_by(code)
    assert found(modules, "octoedge.edge.devicetwin.devicetwin")
    costly = ("ast", "dis", "ctypes", "dataclasses")
    assert [name for name in costly if name in modules] == [], "use msgspec.Struct in what an agent always imports"
    assert [name for name in WHEN_IT_IS_USED if found(modules, name)] == [], "import it where it is first used"


def test_the_watch_over_imports_would_notice() -> None:
    modules = imported_by("import octoedge.pki.x509, difflib")
    assert found(modules, "cryptography")
    assert found(modules, "difflib")


def test_yaml_is_read_only_when_a_file_is() -> None:
    for module in ("octoedge.api.config.edgecore", "octoedge.api.config.load", "octoedge.edge.edgecore"):
        assert not found(imported_by(f"import {module}"), "yaml"), module


def test_what_is_switched_off_is_not_imported() -> None:
    code = "import octoedge.edge.edgecore"
    modules = imported_by(code)
    off = ("octoedge.edge.edged.edged", "octoedge.edge.edgestream", "octoedge.edge.edgehub.hub", "grpclib")
    for module in (*off, "octoedge.edge.metamanager.metaserver", "octoedge.kube"):
        assert not found(modules, module), module


def test_the_answer_to_version_costs_next_to_nothing() -> None:
    modules = imported_by("import octoedge.commands.edgecore")
    for module in ("asyncio", "msgspec", "websockets", "sqlite3", "yaml"):
        assert not found(modules, module), module
