"""Static pods as files: what lies in a directory in, pods as the API would have sent them out.

    <staticPodPath>/*.yaml, *.json ──read──► pod with the node's name, an uid made of its content, defaults of its own

A file that cannot be read, or holds no pod, changes nothing: the pod that came from it before goes on. A directory that
is not there proves nothing either.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from octoedge.api.core import Pod, view
from octoedge.edge.edged.pods import references
from octoedge.edge.edged.ranking import STATIC
from octoedge.errors import MessageError
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

HASH, SEEN = "kubernetes.io/config.hash", "kubernetes.io/config.seen"
MOST_BYTES = 1 << 20
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_UID = re.compile(r"[0-9a-f]{32}")

Json = dict[str, Any]


def is_static_uid(uid: str) -> bool:
    """Whether an uid was made from a manifest: those of the API have hyphens."""
    return _UID.fullmatch(uid) is not None


def static_pod(text: bytes, file: str, node: str, now: str) -> Json:
    """The pod that a manifest describes. Raises `ValueError` with a sentence when it describes none."""
    pod = _decode(text)
    if (pod.get("apiVersion"), pod.get("kind")) != ("v1", "Pod"):
        raise ValueError(f"it holds {pod.get('apiVersion')} {pod.get('kind')}; a static pod is a v1 Pod")
    about, spec = pod.get("metadata"), pod.get("spec")
    if not isinstance(about, dict) or not isinstance(spec, dict):
        raise ValueError("metadata and spec must be objects")
    name = about.get("name")
    full = f"{name}-{node.lower()}"
    if not isinstance(name, str) or not _NAME.fullmatch(full) or len(full) > 253:
        raise ValueError(f"metadata.name {name!r} makes no pod name together with the node's ({full!r})")
    about = {key: value for key, value in about.items() if key in ("labels", "annotations", "namespace")}
    body = {"metadata": {**about, "name": full, "namespace": about.get("namespace") or "default"}, "spec": spec}
    uid = _uid(node, file, body)
    notes = {**(about.get("annotations") or {}), HASH: uid, STATIC: "file", SEEN: now}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {**body["metadata"], "uid": uid, "annotations": notes, "creationTimestamp": now},
        "spec": _complete(spec, node),
        "status": {"phase": "Pending"},
    }


def _decode(text: bytes) -> Json:
    try:
        if text.lstrip()[:1] == b"{":
            found = msgspec.json.decode(text)
        else:
            # PyYAML is asked only when there is something for it to read.
            import yaml as pyyaml

            from octoedge.api.config import yaml

            try:
                found = pyyaml.load(text, Loader=yaml.Loader)  # noqa: S506 - made of the safe one
            except pyyaml.YAMLError as error:
                raise ValueError(f"it is no YAML: {error}") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"it is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError("it holds no object")
    return found


def _uid(node: str, file: str, body: Json) -> str:
    try:
        content = msgspec.json.encode(body, order="sorted")
    except TypeError as error:
        raise ValueError(f"it holds what JSON cannot: {error}") from error
    return hashlib.sha256(b"\0".join((node.encode(), file.encode(), content))).hexdigest()[:32]


def _complete(spec: Json, node: str) -> Json:
    """The spec with what the API would have filled in; a static pod stays on its node whatever is said of it."""
    tolerations = [*(spec.get("tolerations") or []), {"operator": "Exists", "effect": "NoExecute"}]
    done = {**spec, "nodeName": node, "tolerations": tolerations}
    if spec.get("hostNetwork"):
        for container in spec.get("containers") or []:
            for port in container.get("ports") or []:
                port.setdefault("hostPort", port.get("containerPort"))
    return done


def refused(obj: bytes) -> str:
    """Why a pod cannot be a static one; empty when it can."""
    try:
        pod = view(Pod, obj)
    except MessageError as error:
        return str(error)
    if not pod.spec.containers:
        return "spec.containers is empty"
    found = sorted(f"{kind} {name}" for kind, name in references(pod) if name)
    if pod.spec.service_account_name:
        found.append(f"serviceaccount {pod.spec.service_account_name}")
    if found:
        return f"a static pod can refer to no other object, but this one does: {', '.join(found)}"
    return ""


class Manifests:
    """One directory and the pods that came from it, by file name."""

    def __init__(self, folder: Path | None, node: str) -> None:
        self._folder = folder
        self._node = node
        self._signature: tuple[tuple[str, int, int, int], ...] | None = None
        self._said = SaidOnce(log)
        self.pods: dict[str, bytes] = {}
        self.readable = False
        """Whether the directory could be looked into; only then a file that is missing says something."""

    def scan(self, now: str) -> bool:
        """Look into the directory; whether the pods are others than before."""
        if self._folder is None:
            return False
        try:
            with os.scandir(self._folder) as entries:
                files = sorted((entry.name, entry.stat()) for entry in entries if _counts(entry))
        except FileNotFoundError:
            self.readable = False
            return False
        except OSError as error:
            self._said.trouble("static pods", f"{self._folder} cannot be read: {error}; they stay as they are")
            self.readable = False
            return False
        self.readable = True
        signature = tuple((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in files)
        if signature == self._signature:
            return False
        self._signature = signature
        before, self.pods = self.pods, self._read([name for name, _ in files], now)
        return before != self.pods

    def _read(self, names: list[str], now: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        taken: set[tuple[str, str]] = set()
        for name in names:
            obj = self._one(name, now)
            if obj is None:
                continue
            about = msgspec.json.decode(obj)["metadata"]
            full = (about["namespace"], about["name"])
            if full in taken:
                self._said.trouble(f"static pod {name}", f"another file has pod {'/'.join(full)} already; left aside")
                continue
            taken.add(full)
            found[name] = obj
        return found

    def _one(self, name: str, now: str) -> bytes | None:
        """The pod of a file; that of before where the file holds none now."""
        before, path = self.pods.get(name), Path(self._folder or "", name)
        try:
            obj = msgspec.json.encode(static_pod(_limited(path), str(path), self._node, now))
            why = refused(obj)
            if why:
                raise ValueError(why)
        except (OSError, ValueError) as error:
            kept = "the pod that it held before stays" if before else "no pod comes from it"
            self._said.trouble(f"static pod {name}", f"{path}: {error}; {kept}")
            return before
        self._said.over(f"static pod {name}", "its manifest is read")
        if before is not None and _uid_of(before) == _uid_of(obj):
            return before  # Touched, not changed.
        return obj


def _counts(entry: os.DirEntry[str]) -> bool:
    return not entry.name.startswith(".") and entry.is_file()


def _limited(path: Path) -> bytes:
    with open(path, "rb") as file:
        text = file.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES} bytes")
    return text


def _uid_of(obj: bytes) -> str:
    return str(msgspec.json.decode(obj)["metadata"]["uid"])
