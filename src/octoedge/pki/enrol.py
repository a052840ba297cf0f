"""How an edge node makes its key and signing request, without holding the cryptography package in memory.

`python -m octoedge.pki.child` runs for a moment: one JSON document in, one out. The agent's own process never imports
cryptography (10 MiB that would never be given back). What a certificate says it reads by hand (`edgehub/certificate`).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from octoedge.errors import CertificateError, PkiError

if TYPE_CHECKING:
    from octoedge.pki import jwt

_DEADLINE_SECONDS = 60.0
_CHILD = (sys.executable, "-m", "octoedge.pki.child")


@dataclass(frozen=True, slots=True)
class KeyAndRequest:
    """A new private key and the request to sign its certificate."""

    key_pem: bytes
    """`EC PRIVATE KEY`, P-256, as KubeEdge writes it."""
    csr_der: bytes
    """PKCS#10 with subject C=CN, ST=Zhejiang, L=Hangzhou, O=system:nodes, CN=system:node:<node>."""


async def request_key_and_csr(node: str, key_pem: bytes = b"") -> KeyAndRequest:
    """The signing request of node `node`, with a fresh key or with the one given."""
    answer = await _ask({"do": "request", "node": node, "key": base64.b64encode(key_pem).decode()})
    return KeyAndRequest(base64.b64decode(answer["key"]), base64.b64decode(answer["csr"]))


@dataclass(frozen=True, slots=True)
class Serving:
    """What a server on this node shows, and what its clients trust; all PEM."""

    ca: bytes
    certificate: bytes
    key: bytes


def serving_certificate(addresses: Sequence[str]) -> Serving:
    """A certificate for these IP addresses and DNS names, by a CA of its own whose key is nowhere. Blocks."""
    answer = _ask_now({"do": "serving", "addresses": ",".join(addresses)})
    return Serving(answer["ca"].encode(), answer["certificate"].encode(), answer["key"].encode())


def public_keys(pem: str) -> list[jwt.Key]:
    """The keys in a file of `serviceAccountKeyFiles`: public or private keys, or certificates, as PEM. Blocks."""
    import msgspec  # both only here: few nodes are given such files

    from octoedge.pki import jwt

    return msgspec.convert(_ask_now({"do": "keys", "pem": pem})["keys"], list[jwt.Key])


def _ask_now(question: dict[str, str]) -> dict[str, Any]:
    asked = json.dumps(question).encode()
    try:
        done = subprocess.run(_CHILD, input=asked, capture_output=True, timeout=_DEADLINE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise PkiError(f"the certificate helper failed: {error}") from error
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise CertificateError(answer["error"])
    return answer


async def _ask(question: dict[str, str]) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *_CHILD,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_DEADLINE_SECONDS):
            out, err = await process.communicate(json.dumps(question).encode())
    except TimeoutError as error:
        raise PkiError(f"the certificate helper gave no answer in {_DEADLINE_SECONDS:.0f} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise PkiError(f"the certificate helper failed: {err.decode(errors='replace').strip()[-500:]}")
    answer: dict[str, Any] = json.loads(out)
    if "error" in answer:
        raise CertificateError(answer["error"])
    return answer
