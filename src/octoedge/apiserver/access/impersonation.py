"""`kubectl --as`: who may `impersonate` a user, a group or a service account may speak as one, and is that one then.

Every part that is asked for is authorized by itself, for the one who really asks; he stays known as `User.behind`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from octoedge.apiserver.access.authorization import Attributes, Authorizer, refusal
from octoedge.apiserver.serving.requests import ACCOUNT, ALL_ACCOUNTS, AUTHENTICATED, UNAUTHENTICATED, User
from octoedge.errors import bad_request, forbidden

_USER = "Impersonate-User"
_UID = "Impersonate-Uid"
_GROUP = "Impersonate-Group"
_EXTRA = "impersonate-extra-"
_MAX_GROUPS = 256
_AUTHENTICATION = "authentication.k8s.io"


def impersonated(user: User, headers: Mapping[str, str], authorizer: Authorizer) -> User:
    """The user that the request is to be taken for; 403 unless the real one may speak as him."""
    name, uid, groups, extra = headers.get(_USER, ""), headers.get(_UID, ""), _groups(headers), _extra(headers)
    if not name:
        if groups or uid or extra:
            raise forbidden(f"{', '.join([*groups, *extra, uid]).strip(', ')} cannot be taken on without {_USER}")
        return user
    for asked in _asked(name, uid, groups, extra):
        decision = authorizer.decide(user, asked)
        if not decision.allowed:
            raise refusal(user, asked, decision.reason)
    if not groups and name.startswith(ACCOUNT):
        groups = [ALL_ACCOUNTS, f"{ALL_ACCOUNTS}:{name.split(':')[2]}"]
    if name != "system:anonymous" and AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups.append(AUTHENTICATED)
    elif name == "system:anonymous" and not groups:
        groups.append(UNAUTHENTICATED)
    return User(name, tuple(groups), uid, extra, behind=user.behind or user)


def _asked(name: str, uid: str, groups: list[str], extra: Mapping[str, list[str]]) -> Iterator[Attributes]:
    account = name.removeprefix(ACCOUNT).split(":") if name.startswith(ACCOUNT) else []
    if account:
        if len(account) != 2 or not all(account):
            raise bad_request(f"Impersonate-User {name!r} is not the name of a service account")
        yield Attributes("impersonate", resource="serviceaccounts", namespace=account[0], name=account[1])
    else:
        yield Attributes("impersonate", resource="users", name=name)
    for group in groups:
        yield Attributes("impersonate", resource="groups", name=group)
    if uid:
        yield Attributes("impersonate", group=_AUTHENTICATION, resource="uids", name=uid)
    for key, values in extra.items():
        for value in values:
            yield Attributes("impersonate", group=_AUTHENTICATION, resource="userextras", subresource=key, name=value)


def _groups(headers: Mapping[str, str]) -> list[str]:
    groups = _all(headers, _GROUP)
    if len(groups) > _MAX_GROUPS:
        raise bad_request(f"{_GROUP} is given {len(groups)} times; at most {_MAX_GROUPS} are read")
    return groups


def _extra(headers: Mapping[str, str]) -> dict[str, list[str]]:
    keys = {key.lower() for key in headers if key.lower().startswith(_EXTRA)}
    return {unquote(key.removeprefix(_EXTRA)): _all(headers, key) for key in sorted(keys)}


def _all(headers: Mapping[str, str], name: str) -> list[str]:
    """Every value of a header that may be said more than once."""
    several = getattr(headers, "getall", None)
    if several is not None:
        return [str(one) for one in several(name, ())]
    return [headers[name]] if headers.get(name) else []
