"""A node comes to its certificate, through bad tokens, foreign clouds, and crashes between two renames."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.edgehub import certificate
from octoedge.edge.edgehub.enrolment import Enrolment, Files, Step
from octoedge.errors import CertificateError, ConfigError, ConnectError, PkiError, TokenError
from octoedge.pki import x509
from octoedge.testing import tls
from octoedge.testing.certificates import CertificateCloud

NOW = time.time()


class FixedClock:
    """A wall clock that stands."""

    def __init__(self, now: float = NOW) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


class Node:
    """The files of a node that joins `cloud`."""

    def __init__(self, directory: Path, cloud: CertificateCloud, token: str, name: str = "edge-1") -> None:
        self.files = Files(directory / "ca" / "root.crt", directory / "certs" / "c.crt", directory / "certs" / "c.key")
        self.clock = FixedClock()
        self.forgotten = 0
        self.enrolment = Enrolment(
            name, cloud.url, self.files, self.clock, token, self._forget, directory / "bootstrap.conf"
        )

    def _forget(self) -> None:
        self.forgotten += 1


@pytest.fixture
def cloud(tmp_path: Path) -> CertificateCloud:
    return CertificateCloud(tls.make(tmp_path / "cloud"), NOW)


def with_cloud(cloud: CertificateCloud, test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with cloud.running():
            await test()

    asyncio.run(main())


def test_a_node_joins_once_and_never_asks_again(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, cloud.token())
        await node.enrolment.ensure()
        await node.enrolment.ensure()
        assert node.enrolment.step is Step.ENROLLED
        assert cloud.requests == ["GET /ca.crt HTTP/1.1", "GET /edge.crt HTTP/1.1"]
        assert node.forgotten == 1
        assert certificate.load(node.files.certificate).common_name == "system:node:edge-1"
        for path in (node.files.ca, node.files.certificate, node.files.key):
            assert path.stat().st_mode & 0o777 == 0o600

    with_cloud(cloud, join)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".part", ".new")]


def test_the_bootstrap_file_goes_before_the_configured_token(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, "nonsense")
        node.enrolment.bootstrap_file.write_text(cloud.token() + "\n")
        await node.enrolment.ensure()
        assert node.enrolment.step is Step.ENROLLED

    with_cloud(cloud, join)


def test_a_token_of_another_cloud_is_refused_here_and_nothing_is_written(
    tmp_path: Path, cloud: CertificateCloud
) -> None:
    async def join() -> None:
        foreign = CertificateCloud(tls.make(tmp_path / "other"), NOW).token()
        node = Node(tmp_path, cloud, foreign)
        with pytest.raises(TokenError, match="another cloud"):
            await node.enrolment.ensure()
        assert cloud.requests == ["GET /ca.crt HTTP/1.1"]
        assert not node.files.ca.exists()
        assert node.forgotten == 0

    with_cloud(cloud, join)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda cloud: cloud.token(expires_in=-1), "expired"),
        (lambda cloud: cloud.token()[:-4] + "AAAA", "signature"),
        (lambda cloud: "abc", "not of the form"),
        (lambda cloud: "", "no join token"),
        (lambda cloud: cloud.token().partition(".")[2], "not of the form"),
    ],
)
def test_bad_tokens_are_told_of(
    tmp_path: Path, cloud: CertificateCloud, damage: Callable[[CertificateCloud], str], words: str
) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, damage(cloud))
        with pytest.raises(TokenError, match=words):
            await node.enrolment.ensure()
        assert not node.files.certificate.exists()

    with_cloud(cloud, join)


def test_what_only_passes_is_worth_another_try(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, cloud.token())
        cloud.fail_with = 500
        with pytest.raises(ConnectError, match="HTTP 500: out of order"):
            await node.enrolment.ensure()
        cloud.fail_with = 0
        await node.enrolment.ensure()

    with_cloud(cloud, join)


def test_a_cloud_that_is_away_is_worth_another_try(tmp_path: Path, cloud: CertificateCloud) -> None:
    cloud.port = 1
    with pytest.raises(ConnectError, match="is CloudCore running"):
        asyncio.run(Node(tmp_path, cloud, cloud.token()).enrolment.ensure())


def test_an_address_that_is_no_url_is_the_configurations_fault(tmp_path: Path, cloud: CertificateCloud) -> None:
    node = Node(tmp_path, cloud, cloud.token())
    node.enrolment.http_server = "127.0.0.1:10002"
    with pytest.raises(ConfigError, match="https://HOST:10002"):
        asyncio.run(node.enrolment.ensure())


def test_a_token_with_a_line_break_cannot_smuggle_a_header(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, cloud.token() + "\r\nX-Evil: 1")
        with pytest.raises((ConfigError, TokenError)):
            await node.enrolment.ensure()
        assert not any("edge.crt" in request for request in cloud.requests)

    with_cloud(cloud, join)


def test_a_certificate_for_somebody_else_is_not_taken(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        cloud.issue_for = "edge-2"
        node = Node(tmp_path, cloud, cloud.token())
        with pytest.raises(CertificateError, match="edge-2"):
            await node.enrolment.ensure()
        assert not node.files.certificate.exists()

    with_cloud(cloud, join)


def test_a_renamed_node_joins_under_its_new_name(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        await Node(tmp_path, cloud, cloud.token()).enrolment.ensure()
        renamed = Node(tmp_path, cloud, cloud.token(), "edge-9")
        await renamed.enrolment.ensure()
        assert certificate.load(renamed.files.certificate).common_name == "system:node:edge-9"

    with_cloud(cloud, join)


def test_an_expired_certificate_is_replaced_with_a_token_and_tried_without(
    tmp_path: Path, cloud: CertificateCloud
) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, cloud.token())
        await node.enrolment.ensure()
        old = node.files.certificate.read_bytes()
        node.clock.time = NOW + 400 * 86400
        node.enrolment.token = ""
        await node.enrolment.ensure()
        assert node.files.certificate.read_bytes() == old
        node.enrolment.token = cloud.token()
        await node.enrolment.ensure()
        assert node.files.certificate.read_bytes() != old

    with_cloud(cloud, join)


def test_a_clock_that_is_behind_does_not_cost_the_certificate(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, cloud.token())
        await node.enrolment.ensure()
        node.clock.time = 0.0
        node.enrolment.token = ""
        await node.enrolment.ensure()
        assert node.enrolment.step is Step.ENROLLED

    with_cloud(cloud, join)


def test_renewal_shows_the_certificate_and_makes_a_new_key(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, cloud.token())
        await node.enrolment.ensure()
        before = node.files.key.read_bytes()
        due = node.enrolment.renewal_due(0.7)
        assert 0.69 * 365 * 86400 < due < 0.71 * 365 * 86400
        node.enrolment.token = ""
        await node.enrolment.renew()
        assert node.files.key.read_bytes() != before
        await node.enrolment.ensure()
        assert node.enrolment.step is Step.ENROLLED

    with_cloud(cloud, join)


def test_a_crash_between_the_two_renames_is_finished_at_the_next_start(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, cloud.token())
        await node.enrolment.ensure()
        key, csr = x509.new_node_request("edge-1")
        issued = x509.sign_node(cloud.world.ca, csr, "edge-1", days=365, now=NOW)
        waiting = node.files.certificate.with_name(node.files.certificate.name + ".new")
        waiting.write_bytes(x509.certificate_to_pem(issued))
        node.files.key.write_bytes(key)  # the key was renamed, then the power failed
        node.enrolment.token = ""
        await node.enrolment.ensure()
        assert certificate.der_of(node.files.certificate.read_text()) == issued
        assert not waiting.exists()

    with_cloud(cloud, join)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path, cloud: CertificateCloud) -> None:
    async def join() -> None:
        node = Node(tmp_path, cloud, cloud.token())
        (tmp_path / "certs").write_text("a file where a directory belongs")
        with pytest.raises(PkiError, match="cannot write"):
            await node.enrolment.ensure()

    with_cloud(cloud, join)
