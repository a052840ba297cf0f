"""The Application: a request to the Kubernetes API that an edge sends up, and its answer (spec: metadata, section 4).

    Target and verb ── make ──► Application ── encode ──► content of the message ── decode ──► Application
                                 … answered ──► the same Application with its body, or with an error

Between two of ours it says one thing more, which KubeEdge passes over: `Account`, the service account in whose name the
request is made; and there is a verb more, `follow`: the changes after a resourceVersion, in one answer, as soon as
there are any.
"""

from __future__ import annotations

import hashlib
from typing import Any, TypeVar

import msgspec

from octoedge.errors import ApiError, MessageError

T = TypeVar("T")

FOLLOW = "follow"
DISCOVERY = frozenset(("api", "apis", "version", "healthz", "livez", "readyz"))
_OPENAPI = ("openapi/v2", "openapi/v3")
APPROVED, REJECTED, APPLYING = "Approved", "Rejected", "InApplying"
_NOBODY = "null"
_CORE = "core"


class Error(msgspec.Struct, frozen=True):
    """The field `Error`: an API error as Go writes it."""

    ErrStatus: dict[str, Any] = msgspec.field(default_factory=lambda: {"metadata": {}})


class Application(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """One request, or its answer."""

    id: str = msgspec.field(default="", name="ID")
    key: str = ""
    """`/<group or core>/<version>/<plural>/<namespace or null>/<name or null>`, or the path of a discovery page."""
    verb: str = ""
    nodename: str = ""
    option: bytes | None = None
    """JSON of GetOptions, ListOptions … or a `PatchInfo`."""
    req_body: bytes | None = None
    subresource: str = ""
    resp_body: bytes | None = None
    status: str = APPLYING
    reason: str = ""
    error: Error = Error()
    timestamp: str = "0001-01-01T00:00:00Z"
    account: str | msgspec.UnsetType = msgspec.UNSET
    """`<namespace>/<name>` of the service account that asks; unset: the node itself does."""


class PatchInfo(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """`Option` of a patch."""

    name: str = ""
    patch_type: str = ""
    data: bytes | None = None
    options: dict[str, Any] = {}
    subresources: list[str] | None = None


class Key(msgspec.Struct, frozen=True, order=True):
    """What an Application is about; an empty namespace or name stands for all."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        parts = (self.group or _CORE, self.version, self.plural, self.namespace or _NOBODY, self.name or _NOBODY)
        return "/" + "/".join(parts)

    @property
    def path(self) -> str:
        """The path in the Kubernetes API."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        place = f"/namespaces/{self.namespace}" if self.namespace and self.plural != "namespaces" else ""
        return f"{root}{place}/{self.plural}" + (f"/{self.name}" if self.name else "")


class BatchEvent(msgspec.Struct, frozen=True):
    """ADDED, MODIFIED or DELETED, and the object."""

    type: str
    object: msgspec.Raw


class Batch(msgspec.Struct, frozen=True):
    """The body of an answer to `follow`: what happened, in order, and up to which version this is all."""

    version: str
    events: list[BatchEvent] = []


def parse_key(text: str) -> Key:
    """The key in `text`; `MessageError` when it is none."""
    parts = text.split("/")
    if len(parts) != 6 or parts[0] or not all(parts[1:]) or len(text) > 1024 or not text.isprintable():
        raise MessageError(f"{text[:200]!r} is not /<group>/<version>/<resource>/<namespace>/<name>")
    if any(part in (".", "..") or "%" in part or "?" in part or "#" in part for part in parts):
        raise MessageError(f"{text[:200]!r} holds what no name in the Kubernetes API holds")
    group, version, plural, namespace, name = parts[1:]
    return Key(
        "" if group == _CORE else group,
        version,
        plural,
        "" if namespace == _NOBODY else namespace,
        "" if name == _NOBODY else name,
    )


def is_discovery(path: str) -> bool:
    """Whether a path is one of the pages that are handed through (spec: metadata, section 4.6)."""
    if len(path) > 512 or not path.startswith("/") or not path.isascii() or any(sign in path for sign in "?#%\\ "):
        return False
    parts = path[1:].removesuffix("/").split("/")
    if any(part in ("", ".", "..") for part in parts):
        return False
    if "/".join(parts[:2]) in _OPENAPI:
        return True
    if parts[0] not in DISCOVERY:
        return False
    return len(parts) <= {"api": 2, "apis": 3}.get(parts[0], 1)


def make(
    node: str,
    key: str,
    verb: str,
    *,
    option: bytes = b"{}",
    body: bytes | None = None,
    subresource: str = "",
    account: str = "",
) -> Application:
    """A request with its id: the same request has the same id."""
    parts = (node.encode(), key.encode(), verb.encode(), option, body or b"", subresource.encode())
    return Application(
        id=hashlib.sha256(b"".join(parts)).hexdigest(),
        key=key,
        verb=verb,
        nodename=node,
        option=option,
        req_body=body,
        subresource=subresource,
        account=account or msgspec.UNSET,
    )


def encode(application: Application) -> bytes:
    """The content of a message."""
    return msgspec.json.encode(application)


def decode(body: bytes) -> Application:
    """The Application in a message's content; `MessageError` when it is none."""
    try:
        return msgspec.json.decode(body, type=Application)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not an Application: {error}") from error


def option_as(application: Application, kind: type[T]) -> T:
    """`Option` decoded; `MessageError` when it cannot be read."""
    try:
        return msgspec.json.decode(application.option or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"the options of Application {application.key} cannot be read: {error}") from error


def approved(application: Application, body: bytes | None) -> Application:
    """The answer with what the API answered."""
    return msgspec.structs.replace(application, status=APPROVED, resp_body=body)


def rejected(application: Application, error: ApiError) -> Application:
    """The answer that says why not."""
    said = Error(ErrStatus=error.status())
    return msgspec.structs.replace(application, status=REJECTED, reason=error.message, error=said, resp_body=None)


def outcome(application: Application) -> bytes:
    """The body of an answer; raises the `ApiError` that it tells of."""
    if application.status == APPROVED:
        return application.resp_body or b""
    status = application.error.ErrStatus
    if status.get("code"):
        raise ApiError.from_status(status)
    raise ApiError(500, "InternalError", application.reason or f"the cloud answered {application.status!r}")
