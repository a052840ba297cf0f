"""Lists page by page: the first one chooses, and all that follow are of its version.

first page ──► rest held ──► continue token ──► next page … ──► nothing held any more
"""

from __future__ import annotations

import base64
import secrets
from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter

import msgspec

from octoedge.errors import ApiError, bad_request, gone
from octoedge.kube.read import Item, Page, Reader, ReadOptions, select

Asked = tuple[str, str]
"""(resource, namespace) of a list: a token is good for no other."""

_key = attrgetter("key")


class _Token(msgspec.Struct):
    """What a continue token holds: the version of the first page, the last key given out, where the rest is held."""

    v: int
    n: str
    k: str
    h: str = ""


class Held:
    """The rest of lists that clients are reading page by page, so that all pages are of one version.

    An object is never changed in place, so what is held are places in memory. The oldest rests make room for new ones;
    who comes back for one of them gets the rest as it is now.
    """

    def __init__(self, most: int = 16) -> None:
        self._most = most
        self._rests: dict[str, tuple[Asked, Sequence[Item]]] = {}

    def put(self, asked: Asked, rest: Sequence[Item]) -> str:
        """Hold the rest of a list; the name to ask for it by."""
        name = secrets.token_urlsafe(9)
        self._rests[name] = (asked, rest)
        while len(self._rests) > self._most:
            del self._rests[next(iter(self._rests))]
        return name

    def get(self, asked: Asked, token: _Token) -> Sequence[Item] | None:
        """What comes after a token; None when it is held no longer, or for another list. May be asked for twice."""
        whose, rest = self._rests.get(token.h, (None, ()))
        return rest[bisect_right(rest, (token.n, token.k), key=_key) :] if whose == asked else None

    def done(self, name: str) -> None:
        """The last page was given out."""
        self._rests.pop(name, None)


def page(reader: Reader, resource: str, namespace: str, options: ReadOptions, held: Held) -> Page:
    """The part of a list that the options ask for.

    Later pages are of the version of the first one. Where the rest is `held` no longer, they show objects as they are
    now under that version: a watch from it brings everything that changed meanwhile, deletions included.
    """
    token = _read_token(options.continue_from)
    asked = (resource, namespace)
    rest = held.get(asked, token) if token else None
    version = token.v if token else reader.version
    if rest is None:
        _check_version(reader, resource, options, token)
        rest = select(reader, resource, namespace, options)
        if token:
            rest = rest[bisect_right(rest, (token.n, token.k), key=_key) :]
            token.h = ""
    name = token.h if token else ""
    if not options.limit or len(rest) <= options.limit:
        held.done(name)
        return Page(version, rest)
    last = rest[options.limit - 1]
    name = name or held.put(asked, rest[options.limit :])
    following = _write_token(_Token(version, last.namespace, last.name, name))
    return Page(version, rest[: options.limit], following, len(rest) - options.limit)


def _check_version(reader: Reader, resource: str, options: ReadOptions, token: _Token | None) -> None:
    asked = int(options.resource_version or 0)
    if asked > reader.version:
        raise ApiError(
            504,
            "Timeout",
            f"Too large resource version: {asked}, current: {reader.version}",
            {"causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]},
        )
    if token:
        try:
            reader.follow(resource, token.v)
        except ApiError as error:
            raise gone(
                "The provided continue parameter is too old to display a consistent list result. "
                "You must start a new list without the continue parameter."
            ) from error
    elif options.match == "Exact" and asked != reader.version:
        raise gone(f"The resourceVersion for the provided list is too old: {asked}, current: {reader.version}")


def _read_token(text: str) -> _Token | None:
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text + "=="), type=_Token)
    except (ValueError, msgspec.DecodeError) as error:
        raise bad_request("continue key is not valid: it is not one that this server gave out") from error


def _write_token(token: _Token) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).decode().rstrip("=")
