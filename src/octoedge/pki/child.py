"""The short-lived process behind `enrol`: one JSON question on standard input, one JSON answer on standard output.

    {"do": "request", "node": NAME}  →  {"key": base64 PEM, "csr": base64 DER}
    {"do": "inspect", "path": FILE}  →  {"commonName", "organizations", "issuer", "notBefore", "notAfter"}

An answer with the key `error` says why it could not be done.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from octoedge.errors import CertificateError
from octoedge.pki import x509

_MAX_QUESTION = 64 * 1024
_MAX_CERTIFICATE = 1024 * 1024


def main() -> None:
    """Answer one question."""
    question = json.loads(sys.stdin.buffer.read(_MAX_QUESTION))
    try:
        answer = _ANSWERS[question["do"]](question)
    except CertificateError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))


def _request(question: dict[str, Any]) -> dict[str, Any]:
    key_pem, csr_der = x509.new_node_request(question["node"])
    return {"key": base64.b64encode(key_pem).decode(), "csr": base64.b64encode(csr_der).decode()}


def _inspect(question: dict[str, Any]) -> dict[str, Any]:
    path = Path(question["path"])
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CERTIFICATE)
    except OSError as error:
        raise CertificateError(f"cannot read the certificate {path}: {error.strerror}") from error
    seen = x509.read_pem(data, str(path))
    return {
        "commonName": seen.common_name,
        "organizations": list(seen.organizations),
        "issuer": seen.issuer,
        "notBefore": seen.not_before,
        "notAfter": seen.not_after,
    }


_ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"request": _request, "inspect": _inspect}

if __name__ == "__main__":
    main()
