"""One turn of a controller: it reads the store as it is, says what it wants, and all of it is written at once.

    Controller ──► backend.change ──► decide(Turn) ──► edits ──► one commit

A turn runs inside the store's own deciding function. What it counted is therefore still true when its Pods are made:
nothing has to be expected or remembered between turns, and a process that is killed leaves either all of a turn or
nothing of it. Changes of one turn build on each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from octoedge.apiserver.behaviours.behaviour import behaviour_of
from octoedge.apiserver.controllers.events import event
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.store.backend import Drop, Edit, Keep, Put, View
from octoedge.apiserver.writing.deletion import DeleteOptions, Deletion
from octoedge.apiserver.writing.ownership import CONTROLLER, is_leaving, reference, selector_of, without
from octoedge.apiserver.writing.rest import Place, Rest, finished
from octoedge.errors import ApiError
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, parse_rfc3339

Json = dict[str, Any]
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Hands:
    """What controllers act with."""

    rest: Rest
    deletion: Deletion
    kinds: Kinds
    clock: Clock


@dataclass(slots=True)
class Turn:
    """One turn of one controller."""

    hands: Hands
    view: View
    component: str
    now: float
    failures: list[str] = field(default_factory=list)
    """Why something could not be created; the controller tries again later."""
    wait: float | None = None
    """Seconds after which to look again, whatever happens."""
    _edits: dict[Key, Edit] = field(default_factory=dict)

    def items(self, resource: str, namespace: str = "") -> list[Item]:
        """All objects of a resource, as they were at the beginning of the turn."""
        return self.view.items(resource, namespace)

    def get(self, resource: str, namespace: str, name: str) -> Json | None:
        """One object, with the changes of this turn; a copy."""
        pending = self._edits.get((resource, namespace, name))
        if isinstance(pending, Put):
            return {**pending.obj, "metadata": dict(pending.obj["metadata"])}
        if isinstance(pending, Drop):
            return None
        item = self.view.get(resource, namespace, name)
        return None if item is None else decoded(item)

    def claim(self, resource: str, owner: Json) -> list[Json]:
        """The objects that `owner` controls. Those that its selector chooses become its own, others are let go."""
        selector = selector_of(owner)
        about = owner["metadata"]
        claimed = []
        for item in self.items(resource, about.get("namespace", "")):
            controller = item.fields.get(CONTROLLER, "")
            chosen = selector is not None and selector.matches(item.labels)
            if controller == about["uid"]:
                if chosen or selector is None or is_leaving(owner):
                    claimed.append(decoded(item))
                else:
                    self.put(resource, without(decoded(item), {about["uid"]}))
            elif chosen and not controller and not is_leaving(owner):
                obj = decoded(item)
                if not is_leaving(obj):
                    claimed.append(self._adopt(resource, obj, owner))
        return claimed

    def _adopt(self, resource: str, obj: Json, owner: Json) -> Json:
        owners = [*(obj["metadata"].get("ownerReferences") or []), reference(owner)]
        adopted = {**obj, "metadata": {**obj["metadata"], "ownerReferences": owners}}
        self.put(resource, adopted)
        return adopted

    def put(self, resource: str, obj: Json) -> None:
        """Store a changed object; nothing happens when nothing changed."""
        about = obj["metadata"]
        place = Place(self.hands.kinds.named(resource), about.get("namespace", ""), about["name"])
        item = self.view.get(resource, place.namespace, place.name)
        if item is None:
            return
        old = decoded(item)
        if behaviour_of(resource).counts_generations and obj.get("spec") != old.get("spec"):
            generation = (old["metadata"].get("generation") or 0) + 1
            obj = {**obj, "metadata": {**about, "generation": generation}}
        self._edits[resource, place.namespace, place.name] = finished(place, obj, old, item)

    def set_status(self, resource: str, obj: Json, status: Json) -> None:
        """Store the status of an object."""
        about = obj["metadata"]
        present = self.get(resource, about.get("namespace", ""), about["name"])
        if present is not None:
            self.put(resource, {**present, "status": status})

    def create(self, resource: str, obj: Json, about: Json, *, told: str = "SuccessfulCreate") -> str:
        """Create an object on behalf of `about`; its name, or nothing when that failed, which is told as an event."""
        kind = self.hands.kinds.named(resource)
        place = Place(kind, obj["metadata"].get("namespace", ""))
        named = bool(obj["metadata"].get("name"))
        try:
            edits = self.hands.rest.creation(_WithPending(self.view, self._edits), place, obj)
        except ApiError as error:
            # A name that was made up would make every failure another one, and every status a change.
            about_it = obj["metadata"]
            text = error.message if named else error.message.replace(about_it["name"], about_it["generateName"])
            self.failures.append(text)
            if not _closing(error):
                self.tell(about, "FailedCreate", f"Error creating: {text}", warning=True)
            return ""
        for edit in edits:
            assert isinstance(edit, Put)
            made = edit.obj["metadata"]
            self._edits[edit.resource, made.get("namespace", ""), made["name"]] = edit
        name = str(obj["metadata"]["name"])
        if told:
            self.tell(about, told, f"Created {kind.kind.lower()}: {name}")
        return name

    def delete(
        self,
        resource: str,
        obj: Json,
        about: Json | None = None,
        options: DeleteOptions | None = None,
        status: Json | None = None,
    ) -> None:
        """Delete an object, gracefully, with a last `status`; told as an event about `about`."""
        namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
        kind = self.hands.kinds.named(resource)
        options = options or DeleteOptions(uid=obj["metadata"]["uid"])
        try:
            edit = self.hands.deletion.removal(self.view, Place(kind, namespace, name), options)
        except ApiError as error:
            if error.code not in (404, 409):
                self.failures.append(error.message)
            return
        if status is not None and isinstance(edit, Put):
            edit.obj["status"] = status
        self._edits[resource, namespace, name] = edit
        if about is not None:
            self.tell(about, "SuccessfulDelete", f"Deleted {kind.kind.lower()}: {name}")

    def tell(self, about: Json, reason: str, message: str, *, warning: bool = False) -> None:
        """An event about an object."""
        edit = event(self.view, about, reason, message, self.now, warning=warning, component=self.component)
        assert isinstance(edit, Put)
        made = edit.obj["metadata"]
        self._edits.setdefault(("events", made["namespace"], made["name"]), edit)

    def remind(self, about: Json, reason: str, message: str, every: float) -> None:
        """An event that is there for as long as this goes on: told, and told again after so many seconds."""
        edit = event(self.view, about, reason, message, self.now, warning=False, component=self.component)
        assert isinstance(edit, Put)
        made = edit.obj["metadata"]
        known = self.view.get("events", made["namespace"], made["name"])
        told = 0.0 if known is None else _last_told(decoded(known))
        due = told + every - self.now
        if due <= 0:
            self._edits.setdefault(("events", made["namespace"], made["name"]), edit)
            due = every
        self.again(due)

    def again(self, seconds: float) -> None:
        """Look again after so many seconds."""
        seconds = max(seconds, 0.001)
        self.wait = seconds if self.wait is None else min(self.wait, seconds)

    def edits(self) -> Sequence[Edit]:
        """What is to be written."""
        return [edit for edit in self._edits.values() if not isinstance(edit, Keep)]


class _WithPending(View):
    """What is stored, with what this turn is about to create: a quota counts that too."""

    def __init__(self, view: View, edits: Mapping[Key, Edit]) -> None:
        self._view = view
        self._pending = edits

    def get(self, resource: str, namespace: str, name: str) -> Item | None:
        """One object; those of this turn have names that nobody else asks for."""
        return self._view.get(resource, namespace, name)

    def items(self, resource: str, namespace: str = "") -> list[Item]:
        """All objects of a resource."""
        found = self._view.items(resource, namespace)
        for (kind, place, name), edit in self._pending.items():
            new = kind == resource and isinstance(edit, Put) and (not namespace or place == namespace)
            if new and isinstance(edit, Put) and self._view.get(resource, place, name) is None:
                found.append(
                    Item(place, name, 0, msgspec.json.encode(edit.obj), edit.obj["metadata"].get("labels") or {})
                )
        return found


Decision = Callable[[Turn, Json], None]
"""What a controller does in one turn about one of its objects."""


def decoded(item: Item) -> Json:
    """The object of an item; a new one each time."""
    obj: Json = msgspec.json.decode(item.data)
    return obj


def _last_told(seen: Json) -> float:
    try:
        return parse_rfc3339(seen["lastTimestamp"])
    except (KeyError, TypeError, ValueError):
        return 0.0  # somebody changed it


def _closing(error: ApiError) -> bool:
    """Whether nothing can be created because the namespace is going away, which needs no telling."""
    causes = error.details.get("causes") or []
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
