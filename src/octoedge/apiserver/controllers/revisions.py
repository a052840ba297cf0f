"""ControllerRevisions: the templates that a StatefulSet or DaemonSet ever had, for `kubectl rollout history|undo`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.controllers.turn import Turn
from octoedge.apiserver.writing.ownership import is_leaving, reference

Json = dict[str, Any]

RESOURCE = "controllerrevisions.apps"
LABEL = "controller-revision-hash"
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


@dataclass(frozen=True, slots=True)
class Revisions:
    """The revisions of one owner, oldest first; the last one is its present template."""

    all: tuple[Json, ...]

    @property
    def newest(self) -> Json:
        """The revision of the present template."""
        return self.all[-1]

    def named(self, name: str) -> Json | None:
        """The revision of that name."""
        return next((one for one in self.all if one["metadata"]["name"] == name), None)


def template_of(revision: Json) -> Json:
    """The Pod template of a revision."""
    template: Json = {key: value for key, value in revision["data"]["spec"]["template"].items() if key != "$patch"}
    return template


def digest_of(revision: Json) -> str:
    """The hash in the name of a revision."""
    return str((revision["metadata"].get("labels") or {}).get(LABEL) or revision["metadata"]["name"].rsplit("-", 1)[-1])


def keep_revisions(turn: Turn, owner: Json) -> Revisions:
    """Make the revision of the present template the newest, creating it when there is none."""
    known = sorted(turn.claim(RESOURCE, owner), key=lambda one: (one.get("revision") or 0, facts.created(one)))
    data = {"spec": {"template": {**owner["spec"]["template"], "$patch": "replace"}}}
    same = next((one for one in reversed(known) if one.get("data") == data), None)
    number = max((one.get("revision") or 0 for one in known if one is not same), default=0) + 1
    if same is None:
        newest = _make(turn, owner, data, number)
    elif (same.get("revision") or 0) < number:
        newest = {**same, "revision": number}
        turn.put(RESOURCE, newest)
    else:
        newest = same
    return Revisions((*(one for one in known if one is not same), newest))


def cut_revisions(turn: Turn, owner: Json, revisions: Revisions, in_use: set[str]) -> None:
    """Forget the oldest revisions beyond the limit; those in use stay."""
    limit = owner["spec"].get("revisionHistoryLimit", 10)
    idle = [one for one in revisions.all[:-1] if one["metadata"]["name"] not in in_use and digest_of(one) not in in_use]
    for one in idle[: max(0, len(idle) - limit)]:
        turn.delete(RESOURCE, one)


def _make(turn: Turn, owner: Json, data: Json, number: int) -> Json:
    about = owner["metadata"]
    template_labels = (owner["spec"]["template"].get("metadata") or {}).get("labels") or {}
    digest = ""
    for attempt in range(16):
        text = msgspec.json.encode([data, attempt], order="sorted")
        value = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
        digest = "".join(_SAFE[value // 27**place % 27] for place in range(10))
        if turn.get(RESOURCE, about["namespace"], f"{about['name']}-{digest}") is None:
            break
    revision = {
        "kind": "ControllerRevision",
        "apiVersion": "apps/v1",
        "metadata": {
            "name": f"{about['name']}-{digest}",
            "namespace": about["namespace"],
            "labels": {**template_labels, LABEL: digest},
            "annotations": {
                key: value
                for key, value in (about.get("annotations") or {}).items()
                if key != "kubectl.kubernetes.io/last-applied-configuration"
            },
            "ownerReferences": [reference(owner)],
        },
        "data": data,
        "revision": number,
    }
    if not is_leaving(owner):
        turn.create(RESOURCE, revision, owner, told="")
    return revision
