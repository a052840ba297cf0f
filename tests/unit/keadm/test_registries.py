"""Hosts files are containerd's, for their owner only, and nonsense is refused before it is written."""

from __future__ import annotations

import base64
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest

from octoedge.errors import ConfigError, InstallError
from octoedge.keadm import registries
from octoedge.keadm.registries import Registry

MIRROR = "http://192.0.2.7:5000"


def written(registry: Registry) -> Any:
    return tomllib.loads(registries.hosts(registry))


def test_a_mirror_comes_first_and_the_registry_itself_last() -> None:
    found = written(Registry("registry.example:5000", [MIRROR, "https://b.example"]))
    assert found["server"] == "https://registry.example:5000"
    assert list(found["host"]) == [MIRROR, "https://b.example"]
    assert found["host"][MIRROR] == {"capabilities": ["pull", "resolve"]}


def test_docker_hub_is_asked_where_it_answers() -> None:
    assert written(Registry("docker.io", [MIRROR]))["server"] == "https://registry-1.docker.io"


def test_for_all_registries_there_is_no_server() -> None:
    assert "server" not in written(Registry("_default", [MIRROR]))


def test_certificate_authority_and_password_are_given(tmp_path: Path) -> None:
    ca = tmp_path / 'odd "name".pem'
    ca.write_text("x")
    wanted = Registry("r.example", (), verify=False, ca=ca, user="site", password='p"\\ä:')
    registries.check(wanted)
    host = written(wanted)["host"]["https://r.example"]
    assert (host["ca"], host["skip_verify"]) == (str(ca), True)
    kind, secret = host["header"]["Authorization"][0].split()
    assert (kind, base64.b64decode(secret).decode()) == ("Basic", 'site:p"\\ä:')


def test_it_is_written_listed_and_forgotten(tmp_path: Path) -> None:
    path = registries.add(tmp_path, Registry("r.example", [MIRROR], user="a", password="b"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    registries.add(tmp_path, Registry("[::1]:5000", ["https://[::1]:5000"]))
    assert registries.entries(tmp_path)["r.example"] == [MIRROR, "https://r.example"]
    registries.remove(tmp_path, "r.example")
    assert list(registries.entries(tmp_path)) == ["[::1]:5000"]


def test_a_file_of_ones_own_is_listed_and_a_broken_one_named(tmp_path: Path) -> None:
    for host, text in (("a.example", 'server = "https://a.example"'), ("b.example", "nonsense"), ("c", "host = 3")):
        (tmp_path / host).mkdir()
        (tmp_path / host / "hosts.toml").write_text(text)
    found = registries.entries(tmp_path)
    assert found["a.example"] == ["https://a.example"]
    assert "cannot be understood" in found["b.example"][0]
    assert found["c"] == []


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (Registry("https://r.example"), "is no registry's host"),
        (Registry("../etc"), "is no registry's host"),
        (Registry(""), "is no registry's host"),
        (Registry("r.example/team"), "is no registry's host"),
        (Registry("r", ["ftp://x"]), "is no registry's URL"),
        (Registry("r", ["r.example"]), "is no registry's URL"),
        (Registry("r", ["http://u:p@x"]), "without a password in it"),
        (Registry("r", ['http://x/"]']), "is no registry's URL"),
        (Registry("_default"), "stands for all registries"),
        (Registry("r", ca=Path("/nowhere")), "there is no file /nowhere"),
        (Registry("r", user="a:b"), "may hold no colon"),
        (Registry("r", user="a", password="b\n"), "control character"),
    ],
)
def test_nonsense_is_refused_and_not_written(tmp_path: Path, wrong: Registry, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        registries.add(tmp_path / "certs.d", wrong)
    assert not (tmp_path / "certs.d").exists()


@pytest.mark.parametrize("host", ["r.example", "..", "/etc"])
def test_what_is_not_there_cannot_be_removed(tmp_path: Path, host: str) -> None:
    with pytest.raises(InstallError, match="there is no registry"):
        registries.remove(tmp_path, host)
