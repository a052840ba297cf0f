"""Every error that Octoedge raises on purpose, as one tree.

OctoedgeError
├── ConfigError                a configuration file or flag is wrong
├── InstallError               this machine cannot be set up, or a part of the installation does not start
├── ProtocolError              what a peer sent cannot be understood
│   ├── MessageError           not a message: broken JSON, wrong types, too large
│   ├── ResourceError          not a resource path
│   └── RouteError             a message that no row of the route table knows
├── TransportError             the way to the other side
│   ├── ConnectError           it could not be opened
│   │   └── NameUnresolved     no name server knew the other side's address
│   ├── ConnectionRefusedByPeer   the peer refused us: certificate, identity, node limit
│   └── ConnectionClosed       it was open and is no longer
├── PkiError                   certificates and tokens
│   ├── TokenError             a join token is wrong, expired or foreign
│   ├── NameHeld               a node's name is another machine's, or revoked
│   └── CertificateError       a certificate or signing request is wrong
├── StoreError                 the database
│   ├── StoreCorrupt           the file is not a whole database
│   └── StoreFull              no space is left to write
├── DeviceUnknown              this node has no such device
├── DeviceError                a device could not be read or written
├── ValueRefused               a value is none that a device's property can have
├── OfflineError               needs the cloud, and the cloud is away
├── DeadlineError              no answer in time
├── RuntimeUnavailable         the container runtime does not answer
├── CriError                   the container runtime refused a call (gRPC code, text)
├── ModuleFailed               a module of a daemon ended with an error
└── ApiError                   a Kubernetes API answer other than success (metav1.Status)

An error says what was attempted, on what, and what to do. Foreign errors are mapped at the seam where they appear
and chained. Retrying is decided by type, never by text.
"""

from __future__ import annotations

from typing import Any


class OctoedgeError(Exception):
    """Root of every error raised on purpose; `str()` is a sentence for a person."""


class ConfigError(OctoedgeError):
    """A configuration file or flag is wrong; the text names the key and the nearest valid one."""


class InstallError(OctoedgeError):
    """This machine cannot be set up as asked, or a part of the installation does not start or stop."""


class ProtocolError(OctoedgeError):
    """What a peer sent cannot be understood; the connection may go on."""


class MessageError(ProtocolError):
    """Bytes that are not a message."""


class ResourceError(ProtocolError):
    """Text that is not a resource path."""


class RouteError(ProtocolError):
    """A well-formed message that no row of the route table knows."""


class TransportError(OctoedgeError):
    """The way to the other side failed; worth another try."""


class ConnectError(TransportError):
    """A connection could not be opened."""


class NameUnresolved(ConnectError):
    """The name of the other side has no address now: it is unknown, or no name server answers."""


class ConnectionRefusedByPeer(ConnectError):
    """The peer answered and refused us; trying again unchanged will not help."""


class ConnectionClosed(TransportError):
    """The connection was open and is no longer."""


class PkiError(OctoedgeError):
    """Certificates and tokens."""


class TokenError(PkiError):
    """A join token is malformed, expired, or made by another cloud."""


class NameHeld(PkiError):
    """A machine may not have a certificate for this node's name; the text says what an administrator can do."""


class CertificateError(PkiError):
    """A certificate, key or signing request is wrong."""


class StoreError(OctoedgeError):
    """The database could not do what was asked; nothing was half written."""


class StoreCorrupt(StoreError):
    """The file is not a whole database."""


class StoreFull(StoreError):
    """The disk has no room for the write."""


class DeviceUnknown(OctoedgeError):
    """This node has no such device."""


class DeviceError(OctoedgeError):
    """A device could not be read or written; trying again may help."""


class ValueRefused(OctoedgeError):
    """A value is of the wrong type or out of range for a device's property; the same value will not do later either."""


class OfflineError(OctoedgeError):
    """The request needs the cloud, and the cloud is away."""


class DeadlineError(OctoedgeError):
    """No answer came in time."""


class RuntimeUnavailable(OctoedgeError):
    """The container runtime does not answer on its socket."""


class CriError(OctoedgeError):
    """The container runtime refused a call.

    `code` is the gRPC status number (5 = not found, 6 = already exists, 4 = deadline exceeded).
    """

    def __init__(self, call: str, code: int, message: str) -> None:
        super().__init__(f"{call}: {message} (gRPC code {code})")
        self.call = call
        self.code = code
        self.message = message


class ModuleFailed(OctoedgeError):
    """A module of a daemon ended with an error; the cause is chained."""


class ApiError(OctoedgeError):
    """A Kubernetes API answer other than success.

    `code` is the HTTP status, `reason` the machine-readable word of metav1.Status (NotFound, Conflict, …).
    """

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}

    def status(self) -> dict[str, Any]:
        """The metav1.Status object that says this to a Kubernetes client."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status

    @classmethod
    def from_status(cls, status: dict[str, Any]) -> ApiError:
        """The error that a metav1.Status object tells of."""
        code = status.get("code")
        details = status.get("details")
        return cls(
            code if isinstance(code, int) and code else 500,
            str(status.get("reason") or "InternalError"),
            str(status.get("message") or "the API server gave no message"),
            details if isinstance(details, dict) else None,
        )


def first_of(group: BaseException) -> BaseException:
    """The first error inside groups of groups: the one to tell a person of; an error that is no group is its own."""
    error = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _named(plural: str, name: str, group: str = "") -> tuple[str, dict[str, Any]]:
    """The way Kubernetes names an object in messages, and the details that go with it."""
    qualified = f"{plural}.{group}" if group else plural
    details: dict[str, Any] = {"name": name, "kind": plural}
    if group:
        details["group"] = group
    return f'{qualified} "{name}"', details


def not_found(plural: str, name: str, group: str = "") -> ApiError:
    """404: the object does not exist."""
    what, details = _named(plural, name, group)
    return ApiError(404, "NotFound", f"{what} not found", details)


def already_exists(plural: str, name: str, group: str = "") -> ApiError:
    """409: the name is taken."""
    what, details = _named(plural, name, group)
    return ApiError(409, "AlreadyExists", f"{what} already exists", details)


def conflict(plural: str, name: str, why: str, group: str = "") -> ApiError:
    """409: somebody else changed the object first, or a precondition does not hold."""
    what, details = _named(plural, name, group)
    return ApiError(409, "Conflict", f"Operation cannot be fulfilled on {what}: {why}", details)


def invalid(kind: str, name: str, causes: list[tuple[str, str, str]], group: str = "") -> ApiError:
    """422: the object breaks the rules of its kind; `causes` are (reason, field path, message)."""
    qualified = f"{kind}.{group}" if group else kind
    said = [f"{field}: {message}" for _, field, message in causes]
    text = said[0] if len(said) == 1 else "[" + ", ".join(said) + "]"
    details = {
        "name": name,
        "kind": kind,
        "causes": [{"reason": reason, "message": message, "field": field} for reason, field, message in causes],
    }
    if group:
        details["group"] = group
    return ApiError(422, "Invalid", f'{qualified} "{name}" is invalid: {text}', details)


def bad_request(message: str) -> ApiError:
    """400: the request itself cannot be read."""
    return ApiError(400, "BadRequest", message)


def forbidden(message: str, details: dict[str, Any] | None = None) -> ApiError:
    """403: the caller is known and may not do this."""
    return ApiError(403, "Forbidden", message, details)


def gone(message: str) -> ApiError:
    """410: the resourceVersion asked for is no longer in the log; list again."""
    return ApiError(410, "Expired", message)
