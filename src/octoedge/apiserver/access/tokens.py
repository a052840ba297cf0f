"""Service account tokens: JSON Web Tokens (ES256, RS256), bound to an account, and to the Pod that they are for."""

from __future__ import annotations

import base64
import hashlib
import uuid
from dataclasses import dataclass
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from octoedge.errors import CertificateError, TokenError
from octoedge.kube.read import Item, Reader

Json = dict[str, Any]

ISSUER = "https://kubernetes.default.svc.cluster.local"
MAX_TOKEN = 16 * 1024
MIN_SECONDS = 600
MAX_SECONDS = 1 << 32


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a token speaks for."""

    namespace: str
    account: str
    account_uid: str
    pod: str = ""
    pod_uid: str = ""
    node: str = ""

    @property
    def name(self) -> str:
        """The user name."""
        return f"system:serviceaccount:{self.namespace}:{self.account}"


class Tokens:
    """Signs and verifies with one key."""

    def __init__(self, key_pem: bytes, issuer: str = ISSUER) -> None:
        key = serialization.load_pem_private_key(key_pem, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise CertificateError("the service account key is neither ECDSA nor RSA")
        self._key = key
        self.issuer = issuer
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self._header = {"alg": self.algorithm, "kid": _text(hashlib.sha256(public).digest())}

    @property
    def algorithm(self) -> str:
        """ES256 or RS256, by the key."""
        return "ES256" if isinstance(self._key, ec.EllipticCurvePrivateKey) else "RS256"

    def sign(self, subject: Subject, audiences: list[str], now: float, seconds: int) -> str:
        """A token that is good for `seconds` from now."""
        bound: Json = {
            "namespace": subject.namespace,
            "serviceaccount": {"name": subject.account, "uid": subject.account_uid},
        }
        if subject.pod:
            bound["pod"] = {"name": subject.pod, "uid": subject.pod_uid}
        if subject.node:
            bound["node"] = {"name": subject.node}
        claims = {
            "aud": audiences,
            "exp": int(now) + seconds,
            "iat": int(now),
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": bound,
            "nbf": int(now),
            "sub": subject.name,
        }
        signed = f"{_part(self._header)}.{_part(claims)}"
        return f"{signed}.{_text(self._signature(signed.encode()))}"

    def verify(self, token: str, now: float) -> Json:
        """The claims of a token that this key signed and whose time is not over; `TokenError` otherwise."""
        parts = token.split(".")
        if len(token) > MAX_TOKEN or len(parts) != 3:
            raise TokenError("this is not a service account token")
        header, claims = _object(parts[0]), _object(parts[1])
        if header.get("alg") != self.algorithm:
            raise TokenError("the token is signed in a way that this server does not use")
        try:
            self._check(_bytes(parts[2]), f"{parts[0]}.{parts[1]}".encode())
        except (InvalidSignature, ValueError) as error:
            raise TokenError("the token was not signed by this server") from error
        if claims.get("iss") != self.issuer:
            raise TokenError("the token was issued by somebody else")
        if not isinstance(claims.get("exp"), int) or now >= claims["exp"]:
            raise TokenError("service account token has expired")
        if now + 300 < claims.get("nbf", 0):
            raise TokenError("service account token is not valid yet")
        return claims

    def keys(self) -> Json:
        """The public key as a JSON Web Key Set."""
        numbers: Any = self._key.public_key().public_numbers()
        common = {"use": "sig", "kid": self._header["kid"], "alg": self.algorithm}
        if self.algorithm == "ES256":
            key = {"kty": "EC", "crv": "P-256", "x": _number(numbers.x, 32), "y": _number(numbers.y, 32)}
        else:
            size = (numbers.n.bit_length() + 7) // 8
            key = {"kty": "RSA", "n": _number(numbers.n, size), "e": _number(numbers.e, 3)}
        return {"keys": [{**common, **key}]}

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            first, second = utils.decode_dss_signature(self._key.sign(data, ec.ECDSA(hashes.SHA256())))
            return first.to_bytes(32, "big") + second.to_bytes(32, "big")
        return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())

    def _check(self, signature: bytes, data: bytes) -> None:
        if isinstance(self._key, ec.EllipticCurvePrivateKey):
            if len(signature) != 64:
                raise InvalidSignature
            first, second = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            der = utils.encode_dss_signature(first, second)
            self._key.public_key().verify(der, data, ec.ECDSA(hashes.SHA256()))
            return
        self._key.public_key().verify(signature, data, padding.PKCS1v15(), hashes.SHA256())


def check_bound(reader: Reader, claims: Json) -> Subject:
    """The subject of verified claims, if the account and the Pod it is bound to still are; `TokenError` otherwise."""
    bound = claims.get("kubernetes.io") or {}
    account, pod = bound.get("serviceaccount") or {}, bound.get("pod") or {}
    subject = Subject(
        str(bound.get("namespace")),
        str(account.get("name")),
        str(account.get("uid")),
        str(pod.get("name") or ""),
        str(pod.get("uid") or ""),
        str((bound.get("node") or {}).get("name") or ""),
    )
    if _uid(reader.get("serviceaccounts", subject.namespace, subject.account)) != subject.account_uid:
        raise TokenError("the service account of the token does not exist any more")
    if subject.pod and _uid(reader.get("pods", subject.namespace, subject.pod)) != subject.pod_uid:
        raise TokenError("the pod of the token does not exist any more")
    return subject


def _uid(item: Item | None) -> str | None:
    return msgspec.json.decode(item.data)["metadata"]["uid"] if item else None


def _part(obj: Json) -> str:
    return _text(msgspec.json.encode(obj))


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _number(number: int, size: int) -> str:
    return _text(number.to_bytes(size, "big"))


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _object(text: str) -> Json:
    try:
        value = msgspec.json.decode(_bytes(text))
    except (ValueError, msgspec.DecodeError) as error:
        raise TokenError("this is not a service account token") from error
    if not isinstance(value, dict):
        raise TokenError("this is not a service account token")
    return value
