"""Every command block of the tutorial and the how-to pages runs, or a test that is named here shows it to be right."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .blocks import blocks
from .shell import ROOT, run, surroundings

TUTORIAL = ROOT / "docs/tutorial.md"
HOW_TO = [*sorted((ROOT / "docs/how-to").glob("*.md")), ROOT / "docs/tutorial-devices.md"]
PAGES = [TUTORIAL, *HOW_TO, ROOT / "docs/README.md"]
SHOWN_BY = {
    "docker build -t mine:1": "tests/e2e/test_images.py, but for Docker's part",
    "docker save mine:1 | gzip": "tests/e2e/test_images.py",
    "keadm gettoken --kube-config $(octoedge kubeconfig)": "tests/e2e/test_keadm.py",
    "keadm join ": "tests/e2e/test_keadm.py",
    "keadm token create --node edge-7": "tests/integration/test_identities.py",
    "octoedge who-can node edge-7": "tests/integration/test_identities.py",
    "octoedge export /root/export": "tests/integration/test_export.py",
    "octoedge capture edge-1": "tests/e2e/test_capture.py",
    "octoedge replay file.jsonl": "tests/e2e/test_capture.py, tests/wire/test_replay.py",
    "kubectl annotate device thermometer octoedge.io/telemetry": "tests/unit/edge/devicetwin/test_telemetry.py",
    "octoedge device history thermometer": "tests/e2e/test_telemetry.py",
    "keadm reset edge": "tests/e2e/test_keadm.py",
    "keadm reset cloud": "tests/e2e/test_keadm.py",
    "keadm init --kube-config=/root/.kube/config": "tests/e2e/test_keadm.py",
    "octoedge-mapper new boiler": "tests/integration/test_mapper_kit.py",
    '   sed "s#/opt/octoedge#': "test_systemd_takes_the_unit",
}
"""Blocks without a note, by how they begin."""
OFFSET = 12500

real = pytest.mark.skipif(os.geteuid() != 0, reason="real containers need root")


@pytest.fixture(scope="module")
def shell() -> Iterator[dict[str, str]]:
    """A user's, in which nothing is up yet."""
    home = tempfile.mkdtemp(prefix="octoedge-docs-")
    environment = surroundings(home, OFFSET)
    try:
        yield environment
    finally:
        subprocess.run(("make", "down", "PURGE=1"), cwd=ROOT, env=environment, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def installed(shell: dict[str, str]) -> dict[str, str]:
    """The same with an installation, and what the README's first block sets."""
    run("make up", shell)
    home, programs = shell["OCTOEDGE_HOME"], ROOT / ".venv/bin"
    return {**shell, "KUBECONFIG": f"{home}/kubeconfig", "PATH": f"{programs}:{shell['PATH']}"}


@real
@pytest.mark.e2e
@pytest.mark.timeout(300)
def test_the_tutorial_runs_from_top_to_bottom(shell: dict[str, str]) -> None:
    out = run("".join(block.text for block in blocks(TUTORIAL) if block.how == "page"), shell)
    for promised in ("Hello from the edge!", "pod/hello condition met", "serving /www", "News from the cloud"):
        assert promised in out
    assert "disconnected on purpose; `octoedge node connect edge-1` connects it again" in out
    assert re.search(r"pair-\S+ .* edge-1 ", out)
    assert re.search(r"pair-\S+ .* edge-2 ", out)
    assert "removed the data" in out


@real
@pytest.mark.e2e
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "page", [page for page in HOW_TO if "run: installed" in page.read_text()], ids=lambda page: page.stem
)
def test_a_how_to_page_runs(page: Path, installed: dict[str, str]) -> None:
    run("".join(block.text for block in blocks(page) if block.how == "installed"), installed)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_block_that_is_not_run_is_shown_right_elsewhere(page: Path) -> None:
    for block in blocks(page):
        known = any(block.text.startswith(beginning) for beginning in SHOWN_BY)
        assert block.how in ("page", "installed") or known, block.text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs/README.md").read_text()
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    missing = [page for page in pages if "decisions" not in page.parts and f"({page})" not in index]
    assert missing == [Path("README.md")]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd judges units")
@pytest.mark.parametrize("unit", ["octoedge.service", "devices/mapper.service"])
def test_systemd_takes_the_unit(unit: str, tmp_path: Path) -> None:
    file = tmp_path / Path(unit).name
    file.write_text((ROOT / "examples" / unit).read_text().replace("/opt/octoedge", str(ROOT)))
    done = subprocess.run(("systemd-analyze", "verify", file), capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_mapper_of_the_tutorial_is_the_example() -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/tutorial-devices.md").read_text(), re.DOTALL)
    assert code[0] == (ROOT / "examples/devices/thermometer.py").read_text()
