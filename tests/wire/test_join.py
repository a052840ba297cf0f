"""How a Go edge came to its certificate in the capture, and the token of the golden vectors."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from octoedge.errors import CertificateError, TokenError
from octoedge.pki import token, x509

DATA = Path(__file__).parent / "data" / "https.jsonl"

GOLDEN_CA, GOLDEN_KEY = b"example-ca-der", b"example-ca-key-der"
GOLDEN = (
    "5d8d73ccf9e0dad38e3ef59fa768494a0247c762aaf3e23583b2c4ef9cddd0a5.eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJleHAiOjQxMDI0NDQ4MDB9.2zjOWxvCNiz55XtejylqZNoS8iCPIbEGAwfo3IVNZAM"
)


def bodies() -> list[tuple[bytes, bytes]]:
    """(head, body) of GET /ca.crt, its answer, GET /edge.crt, its answer."""
    raws = [base64.b64decode(msgspec.json.decode(line)["raw"]) for line in DATA.read_bytes().splitlines()]
    parts = [raw.partition(b"\r\n\r\n") for raw in raws[:4]]
    return [(head, body) for head, _, body in parts]


def test_the_golden_token_is_made_and_accepted() -> None:
    assert token.mint(GOLDEN_CA, GOLDEN_KEY, expires=4102444800) == GOLDEN
    token.check_ca(GOLDEN, GOLDEN_CA)
    _, bearer = token.split(GOLDEN)
    token.verify(bearer, GOLDEN_KEY, now=1_800_000_000)


def test_the_golden_token_that_has_expired_is_refused() -> None:
    expired = token.mint(GOLDEN_CA, GOLDEN_KEY, expires=1700000000)
    assert expired.endswith(".0Efpkt47wA2NtrB3jO0fd0r6miBJhwhT0iHumcapCOA")
    with pytest.raises(TokenError, match="expired"):
        token.verify(token.split(expired)[1], GOLDEN_KEY, now=1_800_000_000)


def test_the_captured_ca_is_read_as_what_it_is() -> None:
    (head, _), (_, ca), *_ = bodies()
    assert head.startswith(b"GET /ca.crt HTTP/1.1\r\n")
    assert len(ca) == 381
    assert x509.read_der(ca, "/ca.crt").common_name == "KubeEdge"


def test_the_captured_bearer_is_a_token_without_its_first_part() -> None:
    head = bodies()[2][0].decode()
    assert head.startswith("GET /edge.crt HTTP/1.1\r\n")
    assert "Nodename: edge-go" in head
    bearer = head.split("Bearer ")[1].split("\r\n")[0]
    assert bearer.count(".") == 2
    with pytest.raises(TokenError):
        token.verify(bearer, b"another cloud's key", now=1_700_000_000)


def test_the_captured_request_is_signed_for_its_own_node_only() -> None:
    csr = bodies()[2][1]
    ca = x509.new_authority(1_795_000_000)
    made = x509.read_der(x509.sign_node(ca, csr, "edge-go", days=365, now=1_795_000_000), "ours")
    gos = x509.read_der(bodies()[3][1], "Go's")
    assert (made.common_name, made.organizations, made.issuer) == (gos.common_name, gos.organizations, gos.issuer)
    assert gos.common_name == "system:node:edge-go"
    with pytest.raises(CertificateError):
        x509.sign_node(ca, csr, "edge-2", days=365, now=1_795_000_000)
