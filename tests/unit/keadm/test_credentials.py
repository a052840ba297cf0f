"""The administrator's kubeconfig follows the API server's, and what ends soon is told."""

from __future__ import annotations

from pathlib import Path

from octoedge.apiserver.access.credentials import Credentials
from octoedge.keadm.credentials import ending, kubeconfig_is_current, renew_kubeconfig, write_kubeconfig
from octoedge.keadm.layout import Layout
from octoedge.keadm.register import Register

NOW, DAY = 1_790_000_000.0, 86400.0


def installed(folder: Path) -> tuple[Layout, Credentials]:
    layout = Layout(folder)
    layout.apiserver_data.mkdir(parents=True)
    return layout, Credentials(layout.apiserver_data, ("127.0.0.1",), 6443, NOW)


def test_the_copy_for_people_follows_what_the_api_server_made_anew(tmp_path: Path) -> None:
    layout, made = installed(tmp_path)
    assert renew_kubeconfig(layout) == "", "`octoedge up` makes the first one"
    write_kubeconfig(layout)
    assert kubeconfig_is_current(layout)
    assert renew_kubeconfig(layout) == ""
    assert "admin" in made.renew(NOW + 340 * DAY)
    assert not kubeconfig_is_current(layout)
    assert str(layout.kubeconfig) in renew_kubeconfig(layout)
    assert kubeconfig_is_current(layout)
    assert layout.kubeconfig.stat().st_mode & 0o077 == 0


def test_what_has_not_renewed_itself_is_told_before_its_end_and_after(tmp_path: Path) -> None:
    layout, made = installed(tmp_path)
    write_kubeconfig(layout)
    nodes = Register(layout)
    assert ending(nodes, NOW + 343 * DAY) == []
    said = ending(nodes, NOW + 355 * DAY)
    assert len(said) == 4
    assert "pki/apiserver.crt ends in 10 days; a running API server renews it" in said[0]
    assert said[-1] == f"{layout.kubeconfig} ends in 10 days; `octoedge up` renews it"
    assert "ended 5 days ago" in ending(nodes, NOW + 370 * DAY)[0]
    made.renew(NOW + 355 * DAY)
    write_kubeconfig(layout)
    assert ending(nodes, NOW + 355 * DAY) == []


def test_what_cannot_be_read_is_not_guessed_at(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.kubeconfig.write_text("users: [{user: {token: t}}]")
    assert ending(Register(layout), NOW) == []
