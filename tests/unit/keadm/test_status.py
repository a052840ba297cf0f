"""The parts are put together, and the first broken one is named."""

from __future__ import annotations

import sys
from pathlib import Path

from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon
from octoedge.keadm.register import Register
from octoedge.keadm.status import Link, components, deserted, first_broken, full_disk, links

WELL = [
    Link("API server", "apiserver", ok=True, detail="https"),
    Link("CloudCore", "cloudcore", ok=True, detail="wss"),
    Link("runtime", "containerd", ok=True, detail="socket"),
    Link("broker", "mosquitto", ok=True, detail="mqtt"),
    Link("EdgeCore", "edgecore", ok=True, detail="pid 7"),
    Link("channel", "edgecore", ok=True, detail="connected"),
    Link("node", "edgecore", ok=True, detail="Ready"),
]


def test_every_daemon_is_one_component(tmp_path: Path) -> None:
    found = components(Register(Layout(tmp_path)), WELL)
    assert [part.name for part in found] == ["apiserver", "cloudcore", "containerd", "mosquitto", "edgecore"]
    assert [part.node for part in found] == [None, None, "edge-1", "edge-1", "edge-1"]
    assert all(part.ok for part in found)
    assert found[-1].detail == "pid 7; connected; Ready"
    assert first_broken(WELL) is None


def test_a_component_is_as_good_as_its_worst_link(tmp_path: Path) -> None:
    broken = Link("channel", "edgecore", ok=False, detail="refused")
    edgecore = components(Register(Layout(tmp_path)), [*WELL[:5], broken, WELL[6]])[-1]
    assert (edgecore.ok, edgecore.detail) == (False, "refused")


def test_the_first_broken_link_is_named() -> None:
    broken = [Link(link.label, link.component, ok=False, detail="") for link in WELL[1:3]]
    first = first_broken([WELL[0], *broken])
    assert first is not None
    assert first.label == "CloudCore"


def test_an_installation_that_does_not_run_says_so_for_every_part(tmp_path: Path) -> None:
    found = links(Register(Layout(tmp_path, offset=20000)))
    assert [link.ok for link in found] == [False] * 7
    assert "it was not started" in found[0].detail
    assert "`octoedge up`" in found[0].detail


def test_one_that_died_is_told_from_one_that_was_never_started(tmp_path: Path) -> None:
    layout = Layout(tmp_path, offset=20000)
    layout.run.mkdir()
    (layout.run / "cloudcore.pid").write_text("1 1 another-boot\n")
    assert "it has died" in links(Register(layout))[1].detail


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    assert full_disk(Layout(tmp_path), needed=0) == ""
    assert "is full, nothing more is stored; make room on it" in full_disk(Layout(tmp_path), needed=1 << 62)


def test_what_runs_on_after_its_home_was_deleted_is_told(tmp_path: Path) -> None:
    daemon = Daemon(
        "it", (sys.executable, "-c", "import signal; signal.pause()", f"{tmp_path}/home/x"), tmp_path, tmp_path
    )
    pid = daemon.start()
    try:
        assert f"`kill -9 {pid}`" in deserted(tmp_path / "home")
        assert deserted(tmp_path / "other") == ""
    finally:
        daemon.stop(1)
