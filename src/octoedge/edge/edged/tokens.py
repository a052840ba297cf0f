"""Service account tokens of pods: asked through MetaManager, renewed in the volume before they expire.

The kubelet's rule: renew when 80 % of the lifetime or 24 h have passed. MetaManager stores and renews; what is here
only knows when a volume has to be looked at again.
"""

from __future__ import annotations

from typing import Any

from octoedge.api.core import Pod, TokenProjection
from octoedge.edge.edged.objects import ObjectUnavailable
from octoedge.edge.ports import Metadata
from octoedge.errors import ApiError, DeadlineError, OfflineError
from octoedge.runtime.clock import Clock, parse_rfc3339

_LONGEST = 24 * 3600.0
_AGAIN = 60.0
"""Seconds until another look at a token that ought to have been renewed and was not."""


class Tokens:
    """Tokens for projected volumes."""

    def __init__(self, metadata: Metadata, clock: Clock) -> None:
        self._metadata = metadata
        self._clock = clock
        self._renew_at: dict[str, float] = {}

    async def token(self, pod: Pod, source: TokenProjection) -> str:
        """A token for the pod's service account; `ObjectUnavailable` when none can be had."""
        return str((await self.status(pod, source))["token"])

    async def status(self, pod: Pod, source: TokenProjection) -> dict[str, Any]:
        """The same with the time at which it expires, as the status of a TokenRequest."""
        account = pod.spec.service_account_name or "default"
        request = _request(pod, source)
        try:
            answer = await self._metadata.token(pod.metadata.namespace, account, request)
        except (ApiError, OfflineError, DeadlineError) as error:
            raise ObjectUnavailable(f'no token for service account "{account}": {error}') from error
        status = answer.get("status") or {}
        if not status.get("token"):
            raise ObjectUnavailable(f'no token for service account "{account}": the answer holds none')
        self._remember(pod.metadata.uid, status, source.expiration_seconds)
        return dict(status)

    def again(self, uid: str, seconds: float) -> None:
        """The pod's volumes want another look then, even if no token does."""
        now = self._clock.now()
        others = self._renew_at.get(uid, 0.0)
        self._renew_at[uid] = min(others, now + seconds) if others > now else now + seconds

    def renew_in(self, uid: str) -> float | None:
        """Seconds until the pod's volumes should be looked at again; None when it has no token."""
        at = self._renew_at.get(uid)
        return None if at is None else max(at - self._clock.now(), _AGAIN)

    def due(self, uid: str) -> bool:
        """Whether a token of the pod ought to be renewed now."""
        return self._renew_at.get(uid, float("inf")) <= self._clock.now()

    def forget(self, uid: str) -> None:
        """The pod has ended."""
        self._renew_at.pop(uid, None)

    def _remember(self, uid: str, status: dict[str, Any], lifetime: float) -> None:
        now = self._clock.now()
        try:
            expires = parse_rfc3339(str(status.get("expirationTimestamp")))
        except ValueError:
            expires = now + lifetime
        renew = min(expires - 0.2 * lifetime, now + _LONGEST)
        others = self._renew_at.get(uid, renew)
        self._renew_at[uid] = min(renew, others) if others > now else renew


def _request(pod: Pod, source: TokenProjection) -> dict[str, Any]:
    """A TokenRequest bound to the pod, with the fields in the order Kubernetes writes them."""
    return {
        "metadata": {"creationTimestamp": None},
        "spec": {
            "audiences": [source.audience] if source.audience else None,
            "expirationSeconds": source.expiration_seconds,
            "boundObjectRef": {
                "kind": "Pod",
                "apiVersion": "v1",
                "name": pod.metadata.name,
                "uid": pod.metadata.uid,
            },
        },
        "status": {"token": "", "expirationTimestamp": None},
    }
