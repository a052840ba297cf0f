"""Who asks: a client certificate (CN is the user, each O a group), a service account token, or nobody known.

A bearer token that is wrong is refused (401) even beside a good certificate: whoever sends one means it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from octoedge.apiserver.access.authorization import Authorizer
from octoedge.apiserver.access.impersonation import impersonated
from octoedge.apiserver.access.tokens import Tokens, check_bound
from octoedge.apiserver.serving.requests import ALL_ACCOUNTS, AUTHENTICATED, UNAUTHENTICATED, User
from octoedge.errors import ApiError, TokenError
from octoedge.kube.read import Reader
from octoedge.runtime.clock import Clock

ANONYMOUS = User("system:anonymous", (UNAUTHENTICATED,))
API_AUDIENCES = ("https://kubernetes.default.svc.cluster.local", "https://kubernetes.default.svc", "api")


class Authenticator:
    """Turns credentials into a user."""

    def __init__(self, tokens: Tokens, reader: Reader, clock: Clock, authorizer: Authorizer) -> None:
        self._tokens = tokens
        self._reader = reader
        self._clock = clock
        self._authorizer = authorizer

    def user(self, headers: Mapping[str, str], certificate: Mapping[str, Any] | None) -> User:
        """The user of a request; `certificate` is what the TLS library says of the client's verified certificate."""
        authorization = headers.get("Authorization", "")
        if authorization[:7].lower() == "bearer ":
            try:
                user = self.of_token(authorization[7:].strip(), API_AUDIENCES)[0]
            except TokenError as error:
                raise unauthorized() from error
        else:
            user = of_certificate(certificate) or ANONYMOUS
        return impersonated(user, headers, self._authorizer)

    def of_token(self, token: str, audiences: Iterable[str]) -> tuple[User, list[str]]:
        """The user of a service account token, and those of `audiences` that it is for."""
        claims = self._tokens.verify(token, self._clock.now())
        meant = claims.get("aud")
        shared = [one for one in audiences if isinstance(meant, list) and one in meant]
        if not shared:
            raise TokenError("the token is for other audiences")
        subject = check_bound(self._reader, claims)
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims.get('jti')}"]}
        if subject.pod:
            extra["authentication.kubernetes.io/pod-name"] = [subject.pod]
            extra["authentication.kubernetes.io/pod-uid"] = [subject.pod_uid]
        groups = (ALL_ACCOUNTS, f"{ALL_ACCOUNTS}:{subject.namespace}", AUTHENTICATED)
        return User(subject.name, groups, subject.account_uid, extra), shared


def unauthorized() -> ApiError:
    """401: the credentials are not good."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def of_certificate(certificate: Mapping[str, Any] | None) -> User | None:
    """The user that a verified client certificate names."""
    if not certificate:
        return None
    parts = [pair for relative in certificate.get("subject", ()) for pair in relative]
    name = next((value for key, value in parts if key == "commonName"), "")
    groups = tuple(value for key, value in parts if key == "organizationName")
    return User(name, (*groups, AUTHENTICATED)) if name else None
