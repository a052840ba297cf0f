"""The join token (spec: channel, section 10.1): `<sha256 of the CA, hex>.<JWT header>.<JWT payload>.<signature>`.

HS256 with the CA's private key (DER) as secret and `exp` as only claim. The edge keeps the first part to recognise the
CA and sends the other three as bearer. Time is an argument; nothing here does I/O.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

from octoedge.errors import TokenError

_HEADER: dict[str, object] = {"alg": "HS256", "typ": "JWT"}
_DIGESTS = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}
MAX_LENGTH = 8192
"""Characters that a token may have; a real one has about 200."""


def ca_hash(ca_der: bytes) -> str:
    """The fingerprint of the CA as it stands at the head of a token."""
    return hashlib.sha256(ca_der).hexdigest()


def mint(ca_der: bytes, key_der: bytes, *, expires: int) -> str:
    """A token that is good until `expires` (seconds since the epoch)."""
    signed = f"{_encode(_HEADER)}.{_encode({'exp': expires})}"
    signature = hmac.new(key_der, signed.encode(), hashlib.sha256).digest()
    return f"{ca_hash(ca_der)}.{signed}.{_base64(signature)}"


def split(token: str) -> tuple[str, str]:
    """(CA hash, bearer) of a token, as the edge needs them; `TokenError` when it is none."""
    parts = token.strip().split(".")
    if len(parts) != 4 or len(parts[0]) != 64 or not all(parts):
        raise TokenError(
            "the join token is not of the form <CA hash>.<header>.<payload>.<signature>; "
            "copy the whole output of `keadm gettoken`"
        )
    return parts[0], ".".join(parts[1:])


def check_ca(token: str, ca_der: bytes) -> None:
    """`TokenError` unless `token` was made by the cloud that shows this CA."""
    if not hmac.compare_digest(split(token)[0].lower(), ca_hash(ca_der)):
        raise TokenError("the join token belongs to another cloud: its CA hash is not that of the CA this cloud shows")


def verify(bearer: str, key_der: bytes, *, now: float) -> None:
    """`TokenError` unless `bearer` (the JWT alone) was signed with this CA's key and has not expired."""
    parts = bearer.split(".")
    if len(parts) != 3 or len(bearer) > MAX_LENGTH:
        raise TokenError("token is malformed: token contains an invalid number of segments")
    digest = _DIGESTS.get(str(_decode(parts[0], "header").get("alg")))
    if digest is None:
        raise TokenError("token is unverifiable: signing method is not of the HMAC family")
    expected = hmac.new(key_der, f"{parts[0]}.{parts[1]}".encode(), digest).digest()
    if not hmac.compare_digest(expected, _bytes(parts[2], "signature")):
        raise TokenError(
            "token signature is invalid: signature is invalid; the token is damaged or was made by another cloud"
        )
    expires = _decode(parts[1], "claims").get("exp")
    if not isinstance(expires, int | float) or isinstance(expires, bool):
        raise TokenError("token has invalid claims: exp is missing")
    if now >= expires:
        raise TokenError("token has invalid claims: token is expired; get a fresh one with `keadm gettoken`")


def _encode(claims: dict[str, object]) -> str:
    return _base64(json.dumps(claims, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise TokenError(f"token is malformed: could not base64 decode {what}") from error


def _decode(text: str, what: str) -> dict[str, object]:
    try:
        decoded = json.loads(_bytes(text, what))
    except (ValueError, RecursionError) as error:
        raise TokenError(f"token is malformed: could not JSON decode {what}") from error
    if not isinstance(decoded, dict):
        raise TokenError(f"token is malformed: {what} is not an object")
    return decoded
