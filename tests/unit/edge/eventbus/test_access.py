"""Where the node's own broker may listen, and what it is told of users and rights."""

from __future__ import annotations

from pathlib import Path

import pytest

from octoedge.api.config.edgecore import OwnBroker
from octoedge.edge.eventbus.access import DEFAULT_RIGHTS, access
from octoedge.errors import ConfigError

HASHED = "probe:$7$101$c2FsdA==$aGFzaA==\n"


def users(folder: Path, text: str = HASHED, mode: int = 0o600) -> str:
    path = folder / "users"
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def file(folder: Path, name: str) -> str:
    (folder / name).write_text(name)
    return str(folder / name)


def test_without_users_it_is_as_kubeedges_own(tmp_path: Path) -> None:
    door = access("tcp://127.0.0.1:1884", OwnBroker())
    assert door.lines(tmp_path) == ["listener 1884 127.0.0.1", "allow_anonymous true"]
    assert door.files() == {}


def test_with_users_tls_and_rights(tmp_path: Path) -> None:
    given = OwnBroker(
        password_file=users(tmp_path),
        acl_file=file(tmp_path, "acl"),
        tls_cert_file=file(tmp_path, "crt"),
        tls_private_key_file=file(tmp_path, "key"),
        tls_client_ca_file=file(tmp_path, "ca"),
    )
    door = access("ssl://0.0.0.0", given)
    assert door.files() == {
        "users": HASHED.encode(), "rights": b"acl", "tls.crt": b"crt", "tls.key": b"key", "clients.crt": b"ca",
    }  # fmt: skip
    lines = door.lines(Path("/b"))
    assert lines.index("listener 8884 0.0.0.0") < lines.index("allow_anonymous false")
    assert {"password_file /b/users", "acl_file /b/rights", "keyfile /b/tls.key", "require_certificate true"} < {*lines}


def test_rights_that_nobody_gave_are_those_of_kubeedges_clients(tmp_path: Path) -> None:
    door = access("tcp://127.0.0.1:1884", OwnBroker(password_file=users(tmp_path)))
    assert door.files()["rights"] == DEFAULT_RIGHTS.encode()
    assert "pattern write $hw/events/device/+/+/twin/+\n" in DEFAULT_RIGHTS
    assert "pattern read $hw/#\n" in DEFAULT_RIGHTS


@pytest.mark.parametrize(
    ("url", "given", "why"),
    [
        ("tcp://0.0.0.0:1884", OwnBroker(), r"listens on the loopback only.*passwordFile"),
        ("ssl://127.0.0.1:1884", OwnBroker(), "listens on the loopback only"),
        ("tcp://127.0.0.1:1884", OwnBroker(acl_file="x"), "needs octoedge.broker.passwordFile"),
        ("tcp://0.0.0.0:1884", OwnBroker(password_file="users"), "without TLS everybody"),
        ("ssl://0.0.0.0:1884", OwnBroker(password_file="users"), "TLS needs octoedge.broker.tlsCertFile"),
        ("tcp://127.0.0.1:1884", OwnBroker(password_file="users", tls_client_ca_file="x"), "make it ssl://127.0.0.1"),
        (
            "ssl://broker.example:1884",
            OwnBroker(password_file="users", tls_cert_file="c", tls_private_key_file="k"),
            "name an IP address of this node",
        ),
        ("tcp://127.0.0.1:1884", OwnBroker(password_file="none"), "none cannot be read: No such file"),
        ("tcp://127.0.0.1:1884", OwnBroker(password_file="users", acl_file="none"), "aclFile: .*none cannot be read"),
        ("tcp://127.0.0.1:1884", OwnBroker(password_file="plain"), r"line 2 of .* is not USER:HASH.*mosquitto_passwd"),
        ("tcp://127.0.0.1:1884", OwnBroker(password_file="open"), r"mode 0644\): chmod 600"),
        ("tcp://127.0.0.1:1884", OwnBroker(password_file="huge"), "larger than 1 MiB"),
        ("http://127.0.0.1:1884", OwnBroker(), "should look like"),
    ],
)
def test_what_would_be_unsafe_or_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, given: OwnBroker, why: str
) -> None:
    monkeypatch.chdir(tmp_path)
    users(tmp_path)
    for name, text, mode in (
        ("plain", HASHED + "joe:secret\n", 0o600),
        ("open", HASHED, 0o644),
        ("huge", "#" * (1 << 21), 0o600),
    ):
        Path(name).write_text(text)
        Path(name).chmod(mode)
    with pytest.raises(ConfigError, match=why):
        access(url, given)
