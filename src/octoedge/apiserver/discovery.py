"""What this server has, told to clients: groups, versions and resources, one by one or aggregated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from octoedge.apiserver.kinds import Kind, Kinds
from octoedge.apiserver.serving.negotiation import DISCOVERIES, Form, negotiate
from octoedge.apiserver.serving.requests import Answer, Request, json_answer
from octoedge.version import VERSION

Json = dict[str, Any]

KUBERNETES = "v1.32.0"


class Discovery:
    """Answers below /api and /apis that are not about objects."""

    def __init__(self, kinds: Kinds, address: str) -> None:
        self._kinds = kinds
        self._address = address

    def answer(self, request: Request) -> Answer | None:
        """The discovery document at a path; None when there is none."""
        parts = request.path.strip("/").split("/")
        handlers: dict[tuple[str, int], Callable[[Request, list[str]], Answer | None]] = {
            ("api", 1): self._core,
            ("apis", 1): self._groups,
            ("api", 2): lambda _, parts: self._resources("", parts[1]),
            ("apis", 2): lambda _, parts: self._group(parts[1]),
            ("apis", 3): lambda _, parts: self._resources(parts[1], parts[2]),
        }
        handler = handlers.get((parts[0], len(parts)))
        return handler(request, parts) if handler else None

    def _core(self, request: Request, _: list[str]) -> Answer:
        form = negotiate(request.headers.get("Accept", ""), DISCOVERIES)
        if form.as_kind:
            return self._aggregated(form, core=True)
        addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": self._address}]
        return json_answer({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})

    def _groups(self, request: Request, _: list[str]) -> Answer:
        form = negotiate(request.headers.get("Accept", ""), DISCOVERIES)
        if form.as_kind:
            return self._aggregated(form, core=False)
        names = dict.fromkeys(group for group, _ in self._kinds.groups() if group)
        groups = [self._group_of(name) for name in names]
        return json_answer({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    def _group(self, name: str) -> Answer | None:
        if name not in {group for group, _ in self._kinds.groups()}:
            return None
        return json_answer({"kind": "APIGroup", "apiVersion": "v1", **self._group_of(name)})

    def _group_of(self, name: str) -> Json:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version}
            for group, version in self._kinds.groups()
            if group == name
        ]
        return {"name": name, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Answer | None:
        kinds = self._kinds.groups().get((group, version))
        if kinds is None:
            return None
        resources = [row for kind in kinds for row in _rows(kind)]
        name = f"{group}/{version}" if group else version
        return json_answer(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": resources}
        )

    def _aggregated(self, form: Form, *, core: bool) -> Answer:
        groups: dict[str, list[Json]] = {}
        for (group, version), kinds in self._kinds.groups().items():
            if core == (group == ""):
                resources = [_aggregated_row(kind) for kind in kinds]
                row = {"version": version, "resources": resources, "freshness": "Current"}
                groups.setdefault(group, []).append(row)
        items = [
            {"metadata": {**({"name": name} if name else {}), "creationTimestamp": None}, "versions": rows}
            for name, rows in groups.items()
        ]
        api_version = f"{form.group}/{form.version}"
        body = json_answer({"kind": form.as_kind, "apiVersion": api_version, "metadata": {}, "items": items}).body
        return Answer(body, content_type=form.content_type, headers={"Vary": "Accept"})


def version() -> Answer:
    """/version."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    return json_answer(
        {
            "major": major,
            "minor": minor,
            "gitVersion": f"{KUBERNETES}+octoedge.v{VERSION}",
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "none",
            "compiler": "cpython",
            "platform": "linux/amd64",
        }
    )


def _rows(kind: Kind) -> list[Json]:
    row: Json = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    rows = [row]
    for part in kind.subresources:
        below: Json = {
            "name": f"{kind.plural}/{part.name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": part.kind,
            "verbs": list(part.verbs),
        }
        if part.version:
            below |= {"group": part.group, "version": part.version}
        rows.append(below)
    return rows


def _aggregated_row(kind: Kind) -> Json:
    row: Json = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        row["shortNames"] = list(kind.short_names)
    if kind.categories:
        row["categories"] = list(kind.categories)
    if kind.subresources:
        row["subresources"] = [
            {
                "subresource": part.name,
                "responseKind": {
                    "group": part.group if part.version else kind.group,
                    "version": part.version or kind.version,
                    "kind": part.kind,
                },
                "verbs": list(part.verbs),
            }
            for part in kind.subresources
        ]
    return row
