"""Kinds that are computed, not stored: who am I, may I, may somebody else, is this token good?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from octoedge.apiserver.access.authentication import API_AUDIENCES, Authenticator
from octoedge.apiserver.access.authorization import Attributes, Authorizer
from octoedge.apiserver.access.rbac.nodes import node_of
from octoedge.apiserver.serving.requests import User
from octoedge.errors import TokenError, bad_request, invalid
from octoedge.runtime.clock import Clock, rfc3339

Json = dict[str, Any]


class Reviews:
    """Fills in the status of reviews."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer, clock: Clock) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._clock = clock
        self._handlers: dict[str, Callable[[Json, User], Json]] = {
            "selfsubjectreviews": lambda _, user: {"userInfo": user.info()},
            "selfsubjectaccessreviews": lambda spec, user: self._access(spec, user),
            "subjectaccessreviews": lambda spec, _: self._access(spec, _asked_about(spec)),
            "localsubjectaccessreviews": lambda spec, _: self._access(spec, _asked_about(spec)),
            "selfsubjectrulesreviews": self._rules,
            "tokenreviews": lambda spec, _: self._token(spec),
        }

    def answer(self, plural: str, obj: Json, user: User, namespace: str = "") -> Json:
        """The review with its status."""
        spec = obj.get("spec") or {}
        if plural == "localsubjectaccessreviews":
            _check_local(spec, namespace)
        metadata = {**obj.get("metadata", {}), "creationTimestamp": rfc3339(self._clock.now())}
        return {**obj, "metadata": metadata, "status": self._handlers[plural](spec, user)}

    def _access(self, spec: Json, user: User) -> Json:
        resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
        if bool(resource) == bool(path):
            raise bad_request("exactly one of resourceAttributes and nonResourceAttributes must be given")
        if resource:
            asked = Attributes(
                resource.get("verb", ""),
                group=resource.get("group", ""),
                resource=resource.get("resource", ""),
                subresource=resource.get("subresource", ""),
                namespace=resource.get("namespace", ""),
                name=resource.get("name", ""),
            )
        else:
            asked = Attributes(str((path or {}).get("verb", "")), path=str((path or {}).get("path", "")))
        decision = self._authorizer.decide(user, asked)
        return {"allowed": decision.allowed, **({"reason": decision.reason} if decision.reason else {})}

    def _rules(self, spec: Json, user: User) -> Json:
        if not spec.get("namespace"):
            raise bad_request("no namespace on request")
        rules = self._authorizer.rules(user, spec["namespace"])
        return {
            "resourceRules": [rule.shown() for rule in rules if rule.resources],
            "nonResourceRules": [rule.shown() for rule in rules if rule.paths],
            # What a node may do depends on its pods, and cannot be listed.
            "incomplete": bool(node_of(user)),
        }

    def _token(self, spec: Json) -> Json:
        if not spec.get("token"):
            raise invalid("TokenReview", "", [("FieldValueRequired", "spec.token", "Required value")])
        try:
            user, audiences = self._authenticator.of_token(spec["token"], spec.get("audiences") or API_AUDIENCES)
        except TokenError as error:
            return {"authenticated": False, "user": {}, "error": str(error)}
        return {"authenticated": True, "user": user.info(), "audiences": audiences}


def _check_local(spec: Json, namespace: str) -> None:
    asked = (spec.get("resourceAttributes") or {}).get("namespace", "")
    if spec.get("nonResourceAttributes"):
        raise bad_request("spec.nonResourceAttributes: disallowed on this kind of request")
    if asked != namespace:
        raise bad_request(f"spec.resourceAttributes.namespace must match metadata.namespace: {asked!r}, {namespace!r}")


def _asked_about(spec: Json) -> User:
    if not spec.get("user") and not spec.get("groups"):
        raise bad_request("at least one of spec.user and spec.groups must be given")
    return User(spec.get("user") or "", tuple(spec.get("groups") or ()), spec.get("uid") or "")
