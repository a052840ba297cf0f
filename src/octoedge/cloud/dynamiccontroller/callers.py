"""In whose name a request of an edge is made, and whether he may watch.

A request comes from a node, or from a service account that a pod of that node runs as: who holds a node's certificate
can have no more than that node. The API server decides what he may do, for whoever it is (impersonation). A watch is
shared, and so CloudCore's own: then the API server is asked by SubjectAccessReview, and its word holds for a while.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from octoedge.errors import ApiError, forbidden
from octoedge.kube.client import Client, SpeakingAs
from octoedge.protocol.application import Key
from octoedge.protocol.handshake import NODES_GROUP, certificate_name

ALLOWED_SECONDS, REFUSED_SECONDS = 60.0, 10.0
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_ACCOUNTS = "system:serviceaccounts"
_AUTHENTICATED = "system:authenticated"
_MOST = 10_000

RunsAs = Callable[[str, str, str], bool]
"""Whether a pod of (node) runs as the service account (namespace, name)."""


class Callers:
    """Knows who asks, and remembers what he may watch."""

    def __init__(self, client: Client, runs_as: RunsAs, now: Callable[[], float]) -> None:
        self._client = client
        self._runs_as = runs_as
        self._now = now
        self._decisions: OrderedDict[tuple[str, Key, str], tuple[float, str]] = OrderedDict()

    def caller(self, node: str, account: str) -> SpeakingAs:
        """The node, or the service account `<namespace>/<name>`; 403 when no pod of the node runs as it."""
        if not account:
            return SpeakingAs(certificate_name(node), (NODES_GROUP,))
        namespace, _, name = account.partition("/")
        if not self._runs_as(node, namespace, name):
            raise forbidden(f"node {node} may not ask as service account {account[:300]}: none of its pods runs as it")
        return SpeakingAs(f"system:serviceaccount:{namespace}:{name}")

    async def check_watch(self, caller: SpeakingAs, key: Key, fields: str) -> None:
        """403 unless the caller may watch this, by a decision that is not old."""
        place = (caller.user, key, fields)
        known = self._decisions.get(place)
        if known is None or known[0] <= self._now():
            why = await self._review(caller, key, fields)
            until = self._now() + (REFUSED_SECONDS if why else ALLOWED_SECONDS)
            known = self._decisions[place] = (until, why)
            while len(self._decisions) > _MOST:
                self._decisions.popitem(last=False)
        if known[1]:
            raise forbidden(known[1], {"kind": key.plural, "group": key.group})

    async def _review(self, caller: SpeakingAs, key: Key, fields: str) -> str:
        """Why not; empty when he may."""
        about: dict[str, Any] = {
            "verb": "watch",
            "group": key.group,
            "version": key.version,
            "resource": key.plural,
            "namespace": key.namespace,
            "name": key.name,
        }
        if fields:
            about["fieldSelector"] = {"rawSelector": fields}
        spec = {"user": caller.user, "groups": _groups(caller), "resourceAttributes": about}
        review = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}
        answer = msgspec.json.decode(await self._client.request("POST", _REVIEWS, body=msgspec.json.encode(review)))
        status = answer.get("status") if isinstance(answer, dict) else None
        if not isinstance(status, dict):
            raise ApiError(502, "InternalError", "the API server's review of a watch cannot be read")
        if status.get("allowed") is True:
            return ""
        where = f' in the namespace "{key.namespace}"' if key.namespace else " at the cluster scope"
        reason = f": {status['reason']}" if status.get("reason") else ""
        what = f'cannot watch resource "{key.plural}" in API group "{key.group}"'
        return f'{key.plural} is forbidden: User "{caller.user}" {what}{where}{reason}'


def _groups(caller: SpeakingAs) -> list[str]:
    if caller.groups:
        return [*caller.groups, _AUTHENTICATED]
    namespace = caller.user.split(":")[2]
    return [_ACCOUNTS, f"{_ACCOUNTS}:{namespace}", _AUTHENTICATED]
