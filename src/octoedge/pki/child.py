"""The short-lived process behind `enrol`: one JSON question on standard input, one JSON answer on standard output.

    {"do": "request", "node": NAME, "key": base64 PEM or nothing}  →  {"key": base64 PEM, "csr": base64 DER}
    {"do": "serving", "addresses": NAMES, joined by commas}        →  {"ca", "certificate", "key"}, all PEM
    {"do": "keys", "pem": TEXT}                                    →  {"keys": [public keys, as in `jwt`]}

An answer with the key `error` says why it could not be done.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from octoedge.errors import CertificateError
from octoedge.pki import x509

_MAX_QUESTION = 64 * 1024


def main() -> None:
    """Answer one question."""
    question = json.loads(sys.stdin.buffer.read(_MAX_QUESTION))
    try:
        answer = _ANSWERS[question["do"]](question)
    except CertificateError as error:
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer))


def _request(question: dict[str, Any]) -> dict[str, Any]:
    key_pem, csr_der = x509.new_node_request(question["node"], base64.b64decode(question.get("key", "")))
    return {"key": base64.b64encode(key_pem).decode(), "csr": base64.b64encode(csr_der).decode()}


def _serving(question: dict[str, Any]) -> dict[str, Any]:
    """A server's certificate by a CA that signs this one and is forgotten: no key of it is left anywhere."""
    now = time.time()
    authority = x509.new_authority(now)
    server = x509.new_server(authority, question["addresses"].split(","), now)
    made = {
        "ca": x509.certificate_to_pem(authority.certificate),
        "certificate": x509.certificate_to_pem(server.certificate),
        "key": x509.key_to_pem(server.key),
    }
    return {name: pem.decode() for name, pem in made.items()}


def _keys(question: dict[str, Any]) -> dict[str, Any]:
    return {"keys": [msgspec.to_builtins(key) for key in x509.public_keys(question["pem"].encode())]}


_ANSWERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "request": _request,
    "serving": _serving,
    "keys": _keys,
}

if __name__ == "__main__":
    main()
