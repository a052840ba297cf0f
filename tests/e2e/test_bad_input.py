"""Wrong input meets a clear error in the right place; the process lives, and nothing is stored by half."""

from __future__ import annotations

import base64
import random
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.sync.client import ClientConnection

from octoedge.pki import token as tokens
from octoedge.pki import x509
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

from .pods import HELLO
from .strangers import authority, dial, foreign_identity, own_identity, run_edgecore


@pytest.fixture
def unharmed(installation: Installation) -> Iterator[Installation]:
    """The installation; afterwards the same processes live, and all is well."""
    names = ("apiserver", "cloudcore", "containerd", "mosquitto")
    before = {name: installation.daemon(name).pid() for name in names}
    yield installation
    assert {name: installation.daemon(name).pid() for name in names} == before
    eventually(installation.status, lambda parts: all(part["ok"] for part in parts.values()))


def join_token(installation: Installation, kind: str) -> str:
    """A token that will not do."""
    ca = authority(installation)
    other = x509.new_authority(time.time())
    tomorrow = int(time.time()) + 86400
    if kind == "expired":
        return tokens.mint(ca.certificate, ca.key, expires=int(time.time()) - 1)
    if kind == "foreign":
        return tokens.mint(other.certificate, other.key, expires=tomorrow)
    if kind == "forged":
        return tokens.mint(ca.certificate, other.key, expires=tomorrow)
    return "not.a.token"


def certificates(edge: Path) -> list[Path]:
    """What a node has of its cloud; its MetaServer's own, self-made certificate is none of that."""
    return [path for path in edge.rglob("server.*") if path.parent.name != "metaserver"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("malformed", "not of the form"),
        ("expired", "token is expired"),
        ("foreign", "belongs to another cloud"),
        ("forged", "signature is invalid"),
    ],
)
def test_a_wrong_token_is_refused_with_the_reason(
    unharmed: Installation, tmp_path: Path, kind: str, words: str
) -> None:
    done = run_edgecore(unharmed, tmp_path, "stranger", join_token(unharmed, kind))
    assert words in done.out
    assert done.status > 0
    assert "Traceback" not in done.out
    assert "NotFound" in unharmed.kubectl("get", "node", "stranger").err
    assert certificates(tmp_path) == []


def test_a_node_name_that_is_taken_is_refused(unharmed: Installation, tmp_path: Path) -> None:
    secret = unharmed.get("secret", "tokensecret", "-n", "kubeedge")["data"]["tokendata"]
    good = base64.b64decode(secret).decode()
    done = run_edgecore(unharmed, tmp_path, "edge-1", good, seconds=8)
    assert "a node of this name is connected now" in done.out
    assert certificates(tmp_path) == []


def test_a_certificate_of_another_authority_is_refused(unharmed: Installation, tmp_path: Path) -> None:
    for identity in (foreign_identity(tmp_path, "edge-1"), None):
        with (
            pytest.raises((ssl.SSLError, WebSocketException, ConnectionError)),
            dial(unharmed, "edge-1", identity) as connection,
        ):
            connection.recv(timeout=10)


def test_a_certificate_is_good_for_its_own_node_only(unharmed: Installation) -> None:
    with pytest.raises(WebSocketException), dial(unharmed, "edge-2", own_identity(unharmed)) as connection:
        connection.recv(timeout=10)


def test_a_message_of_40_megabytes_ends_the_session_only(unharmed: Installation) -> None:
    unharmed.daemon("edgecore").stop(10)
    try:
        with dial(unharmed, "edge-1", own_identity(unharmed)) as connection:
            with pytest.raises((ConnectionClosed, ConnectionError)):
                listen(connection, "x" * (40 << 20))
            assert connection.close_code in (1006, 1009)
    finally:
        unharmed.daemon("edgecore").start()


def listen(connection: ClientConnection, message: str) -> None:
    """Send, then hear what there is until the other side ends it."""
    connection.send(message)
    while True:
        connection.recv(timeout=10)


def test_an_object_of_40_megabytes_is_refused(unharmed: Installation, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_text("x" * (40 << 20))
    done = unharmed.kubectl("create", "configmap", "large", f"--from-file={large}")
    assert done.status == 1
    assert "too large" in done.err.lower() or "must have at most" in done.err.lower()
    assert "NotFound" in unharmed.kubectl("get", "configmap", "large").err


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        ("hostNetwork: true", "hostNetwrk: true", 'unknown field "spec.hostNetwrk"'),
        ("containerPort: 30080", "containerPort: many", "containerPort"),
        ("      image: octoedge.local/hello:1\n", "", "spec.containers[0].image: Required value"),
        ("- name: web", "- name: WEB!", "spec.containers[0].name: Invalid value"),
        ("mountPath: /www", "mountPath: ''", "mountPath: Required value"),
        ("kind: Pod", "kind: Pood", 'no matches for kind "Pood"'),
    ],
)
def test_a_wrong_manifest_is_refused_and_not_stored(unharmed: Installation, right: str, wrong: str, words: str) -> None:
    manifest = HELLO.read_text()
    assert right in manifest
    pod = manifest.split("---\n")[1].replace(right, wrong)
    done = unharmed.kubectl("apply", "-f", "-", stdin=pod)
    assert done.status == 1
    assert words in done.err
    assert "NotFound" in unharmed.kubectl("get", "pod", "hello").err


def ports(installation: Installation) -> list[int]:
    """Every TCP port that the installation listens on."""
    known = installation.layout.ports
    return [known.apiserver, known.cloudhub, known.certificates, known.stream, known.tunnel, known.monitor]


GARBAGE = [
    random.Random(1).randbytes(4096),
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x16\x03\x01\xff\xff" + bytes(70000),
    b"A" * (1 << 20),
    b"",
]


def test_garbage_on_every_port_is_survived(unharmed: Installation) -> None:
    for port in ports(unharmed):
        for garbage in GARBAGE:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as knock:
                try:
                    knock.sendall(garbage)
                    knock.shutdown(socket.SHUT_WR)
                    while knock.recv(65536):
                        continue
                except (ConnectionError, TimeoutError, OSError):
                    continue


def test_garbage_within_tls_is_survived(unharmed: Installation) -> None:
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.load_cert_chain(*own_identity(unharmed))
    layout = unharmed.layout.ports
    for port in (layout.apiserver, layout.cloudhub, layout.certificates, layout.tunnel):
        for garbage in GARBAGE:
            try:
                with (
                    socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
                    tls.wrap_socket(plain) as knock,
                ):
                    knock.sendall(garbage)
                    knock.settimeout(1)
                    knock.recv(65536)
            except OSError:
                continue
