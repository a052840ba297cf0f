"""metadata of objects: names, what a client may set and what only the server sets, and the rules of it all."""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable
from typing import Any

from octoedge.errors import bad_request, invalid
from octoedge.kube.selector import valid_label_key, valid_label_value

Json = dict[str, Any]
Cause = tuple[str, str, str]
NameRule = Callable[[str], str]

MAX_ANNOTATIONS = 256 * 1024

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_1035 = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_ONLY_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation")


def subdomain(name: str) -> str:
    """What is wrong with `name` as a DNS subdomain; empty when nothing is."""
    if len(name) > 253:
        return "must be no more than 253 characters"
    if re.fullmatch(_SUBDOMAIN, name):
        return ""
    return (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
        f"and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
    )


def label(name: str) -> str:
    """What is wrong with `name` as a DNS label."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    if re.fullmatch(_LABEL, name):
        return ""
    return (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
        f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
    )


def label_1035(name: str) -> str:
    """What is wrong with `name` as the name of a Service."""
    if len(name) > 63:
        return "must be no more than 63 characters"
    if re.fullmatch(_LABEL_1035, name):
        return ""
    return (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        f"character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation "
        f"is '{_LABEL_1035}')"
    )


def prepare_create(obj: Json, namespace: str, now: str) -> None:
    """Set what only the server sets on a new object."""
    metadata = obj.setdefault("metadata", {})
    for field in (*_ONLY_SERVER, "resourceVersion"):
        metadata.pop(field, None)
    if namespace:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = now


def check_place(obj: Json, namespace: str, name: str = "") -> None:
    """`bad_request` when the object says it lies elsewhere than the request does."""
    metadata = obj.setdefault("metadata", {})
    if namespace and metadata.get("namespace") not in (None, "", namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if name and metadata.setdefault("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")


def generate_name(metadata: Json, taken: Callable[[str], bool]) -> None:
    """Make a name of generateName where there is none."""
    prefix = metadata.get("generateName")
    if metadata.get("name") or not prefix:
        return
    for _ in range(8):
        metadata["name"] = prefix[:58] + "".join(secrets.choice(_SUFFIX) for _ in range(5))
        if not taken(metadata["name"]):
            return


def prepare_update(new: Json, old: Json) -> None:
    """Keep what an update may not change."""
    metadata, before = new.setdefault("metadata", {}), old["metadata"]
    if "managedFields" in before:
        # Who leaves them out means nothing by it; who sends an empty list wants them gone.
        metadata.setdefault("managedFields", before["managedFields"])
    for field in (*_ONLY_SERVER, "namespace", "generateName"):
        if field in before:
            metadata[field] = before[field]
        else:
            metadata.pop(field, None)
    new["kind"], new["apiVersion"] = old["kind"], old["apiVersion"]


def check(metadata: Json, name_rule: NameRule) -> list[Cause]:
    """What is wrong with the metadata."""
    return [
        *_check_name(metadata, name_rule),
        *_check_labels(metadata.get("labels") or {}),
        *_check_annotations(metadata.get("annotations") or {}),
        *_check_owners(metadata.get("ownerReferences") or []),
        *_check_finalizers(metadata.get("finalizers") or []),
    ]


def check_ending(new: Json, old: Json) -> list[Cause]:
    """What is wrong with an update of an object that is being deleted: it would never go if more came to wait for."""
    if not old["metadata"].get("deletionTimestamp"):
        return []
    before = old["metadata"].get("finalizers") or []
    added = [name for name in new["metadata"].get("finalizers") or [] if name not in before]
    text = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
    return [forbidden_field("metadata.finalizers", text)] if added else []


def refuse(kind: str, group: str, name: str, causes: list[Cause]) -> None:
    """Raise `invalid` when there are causes."""
    if causes:
        raise invalid(kind, name, causes, group)


def required(field: str, text: str = "") -> Cause:
    """A value is missing."""
    return ("FieldValueRequired", field, f"Required value{': ' + text if text else ''}")


def wrong(field: str, value: Any, text: str) -> Cause:
    """A value breaks a rule."""
    shown = f'"{value}"' if isinstance(value, str) else value
    return ("FieldValueInvalid", field, f"Invalid value: {shown}: {text}")


def forbidden_field(field: str, text: str) -> Cause:
    """A field may not be set, or not changed."""
    return ("FieldValueForbidden", field, f"Forbidden: {text}")


def duplicate(field: str, value: str) -> Cause:
    """A value that must be unique is there twice."""
    return ("FieldValueDuplicate", field, f'Duplicate value: "{value}"')


def _check_name(metadata: Json, rule: NameRule) -> list[Cause]:
    name = metadata.get("name") or ""
    if not name:
        return [required("metadata.name", "name or generateName is required")]
    if name in (".", "..") or "/" in name or "%" in name:
        return [wrong("metadata.name", name, "may not be '.' or '..' and may not contain '/' or '%'")]
    trouble = rule(name)
    return [wrong("metadata.name", name, trouble)] if trouble else []


def _check_labels(labels: Json) -> list[Cause]:
    causes = []
    for key, value in labels.items():
        if not valid_label_key(key):
            text = (
                "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
                "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
                "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            )
            causes.append(wrong("metadata.labels", key, text))
        elif not valid_label_value(value):
            text = (
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
                "must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex "
                "used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            )
            causes.append(wrong("metadata.labels", value, text))
    return causes


def _check_annotations(annotations: Json) -> list[Cause]:
    causes = [
        wrong("metadata.annotations", key, "name part must consist of alphanumeric characters, '-', '_' or '.'")
        for key in annotations
        if not valid_label_key(key.lower())
    ]
    if sum(len(key) + len(value.encode()) for key, value in annotations.items()) > MAX_ANNOTATIONS:
        text = f"Too long: may not be more than {MAX_ANNOTATIONS} bytes"
        causes.append(("FieldValueTooLong", "metadata.annotations", text))
    return causes


def _check_owners(owners: list[Json]) -> list[Cause]:
    return [
        required(f"metadata.ownerReferences[{index}].{field}", "must not be empty")
        for index, owner in enumerate(owners)
        for field in ("apiVersion", "kind", "name", "uid")
        if not owner.get(field)
    ]


def _check_finalizers(finalizers: list[str]) -> list[Cause]:
    return [
        wrong("metadata.finalizers", name, "name is neither a standard finalizer name nor is it fully qualified")
        for name in finalizers
        if not valid_label_key(name)
    ]
