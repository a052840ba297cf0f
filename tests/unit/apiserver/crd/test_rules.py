"""The rules of CustomResourceDefinitions, and which names they get."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from octoedge.apiserver.controllers.definitions import own_definitions
from octoedge.apiserver.crd import rules
from octoedge.apiserver.crd.names import is_established, settled, taken_by, warnings

Json = dict[str, Any]
NOW = "2026-01-01T00:00:00Z"


def definition(plural: str = "widgets", kind: str = "Widget", group: str = "example.com", **names: Any) -> Json:
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    made: Json = {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind, **names},
            "versions": [version],
        },
    }
    rules.normalize(made)
    return made


def told(change: Callable[[Json], Any]) -> list[str]:
    made = definition()
    change(made)
    return [f"{path}: {text}" for _, path, text in rules.check(made)]


def version_of(made: Json) -> Json:
    found: Json = made["spec"]["versions"][0]
    return found


def schema_of(made: Json) -> Json:
    found: Json = version_of(made)["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


def test_a_good_one_is_filled_in() -> None:
    made = definition()
    assert rules.check(made) == []
    assert made["spec"]["names"] == {
        "plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList",
    }  # fmt: skip
    assert made["status"] == {"storedVersions": ["v1"]}
    assert made["metadata"]["finalizers"] == [rules.FINALIZER]


def test_the_finalizer_comes_back_until_the_definition_is_deleted() -> None:
    made = definition()
    made["metadata"]["finalizers"] = []
    rules.normalize(made)
    assert made["metadata"]["finalizers"] == [rules.FINALIZER]
    made["metadata"] |= {"finalizers": [], "deletionTimestamp": NOW}
    rules.normalize(made)
    assert made["metadata"]["finalizers"] == []


@pytest.mark.parametrize(
    ("change", "start"),
    [
        (lambda made: made["metadata"].update(name="x"), "metadata.name: Invalid value"),
        (lambda made: made["spec"].update(group="example"), "metadata.name: Invalid value"),
        (lambda made: made["spec"].update(group=""), "metadata.name: Invalid value"),
        (lambda made: made["spec"].update(scope="Planet"), 'spec.scope: Unsupported value: "Planet"'),
        (lambda made: made["spec"].update(versions=[]), "spec.versions: Required value"),
        (lambda made: made["spec"].update(preserveUnknownFields=True), "spec.preserveUnknownFields: Invalid value"),
        (lambda made: made["spec"].update(conversion={"strategy": "Webhook"}), "spec.conversion.strategy: Forbidden"),
        (lambda made: made["spec"]["names"].update(kind="9"), "spec.names.kind: Invalid value"),
        (lambda made: made["spec"]["names"].update(shortNames=["A"]), "spec.names.shortNames[0]: Invalid value"),
        (lambda made: made["spec"]["names"].update(listKind="Widget"), "spec.names.listKind: Invalid value"),
        (lambda made: version_of(made).update(storage=False), 'spec.versions: Invalid value: "v1": must have exactly'),
        (lambda made: version_of(made).pop("schema"), "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (lambda made: version_of(made).update(name="V"), "spec.versions[0].name: Invalid value"),
        (
            lambda made: made["spec"]["versions"].append(version_of(made)),
            'spec.versions: Invalid value: "v1": must cont',
        ),
        (
            lambda made: version_of(made).update(
                additionalPrinterColumns=[{"name": "A", "type": "text", "jsonPath": ".a"}]
            ),
            'spec.versions[0].additionalPrinterColumns[0].type: Unsupported value: "text"',
        ),
        (
            lambda made: version_of(made).update(
                additionalPrinterColumns=[{"name": "A", "type": "string", "jsonPath": "["}]
            ),
            "spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value",
        ),
        (
            lambda made: version_of(made).update(
                subresources={"scale": {"specReplicasPath": ".x", "statusReplicasPath": ".status.r"}}
            ),
            "spec.versions[0].subresources.scale.specReplicasPath: Invalid value",
        ),
        (
            lambda made: version_of(made).update(selectableFields=[{"jsonPath": ".spec.a[0]"}]),
            "spec.versions[0].selectableFields[0].jsonPath: Invalid value",
        ),
        (
            lambda made: schema_of(made)["properties"].update(a={"type": "integer", "default": "x"}),
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[a].default: Invalid value",
        ),
        (
            lambda made: schema_of(made).update(default={"b": 1}),
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].default: Invalid value",
        ),
    ],
)
def test_what_is_refused(change: Callable[[Json], Any], start: str) -> None:
    assert told(change)[0].startswith(start)


def test_groups_of_kubernetes_need_approval() -> None:
    made = definition(group="apps.k8s.io")
    assert [path for _, path, _ in rules.check(made)] == ["metadata.annotations[api-approved.kubernetes.io]"]
    made["metadata"]["annotations"] = {"api-approved.kubernetes.io": "unapproved"}
    assert rules.check(made) == []


def test_what_may_not_change() -> None:
    old = definition()
    rules.settle(old, [], NOW)
    new = copy.deepcopy(old)
    new["spec"]["scope"] = "Cluster"
    new["spec"]["names"]["kind"] = "Other"
    version_of(new)["name"] = "v2"
    paths = [path for _, path, _ in rules.check_update(new, old)]
    assert paths == ["spec.scope", "spec.names.kind", "status.storedVersions[0]"]


def test_names_are_given_once_within_a_group() -> None:
    first, second = definition(shortNames=["wd"]), definition("others", "Other", shortNames=["wd", "ot"])
    rules.settle(first, [], NOW)
    assert is_established(first)
    rules.settle(second, [first], NOW)
    assert not is_established(second)
    assert second["status"]["acceptedNames"] == {
        "plural": "others", "singular": "other", "kind": "Other", "listKind": "OtherList",
    }  # fmt: skip
    names, established = second["status"]["conditions"]
    assert (names["reason"], names["message"]) == ("ShortNamesConflict", '"wd" is already in use')
    assert established["reason"] == "NotAccepted"
    elsewhere = definition("others", "Widget", "example.org")
    rules.settle(elsewhere, [first], NOW)
    assert is_established(elsewhere)
    freed = settled(second, taken_by([second], "example.com", second["metadata"]["name"]), "2026-01-02T00:00:00Z")
    assert freed["acceptedNames"]["shortNames"] == ["wd", "ot"]
    assert [one["status"] for one in freed["conditions"]] == ["True", "True"]


def test_what_was_served_goes_on_being_served() -> None:
    first, second = definition(), definition("others", "Other")
    rules.settle(first, [], NOW)
    rules.settle(second, [first], NOW)
    second["spec"]["names"]["shortNames"] = ["widget"]
    status = settled(second, taken_by([first], "example.com", "others.example.com"), "2026-01-02T00:00:00Z")
    assert [one["status"] for one in status["conditions"]] == ["False", "True"]
    assert "shortNames" not in status["acceptedNames"]


def test_rules_that_are_not_evaluated_are_told_of() -> None:
    made = definition()
    assert warnings(made) == []
    schema_of(made)["x-kubernetes-validations"] = [{"rule": "url('x').getHost() == 'y'"}]
    rules.settle(made, [], NOW)
    assert made["status"]["conditions"][2]["type"] == "RulesEvaluated"
    (told,) = warnings(made)
    assert told.startswith("v1: x-kubernetes-validations at spec: not evaluated: ")


@pytest.mark.parametrize("own", list(own_definitions()), ids=lambda own: own["metadata"]["name"])
def test_kubeedges_definitions_are_good(own: Json) -> None:
    made = copy.deepcopy(own)
    rules.normalize(made)
    assert rules.check(made) == []


def test_kubeedges_kinds_are_all_there() -> None:
    found = {own["metadata"]["name"]: own["spec"] for own in own_definitions()}
    assert len(found) == 13
    for name in ("devices", "devicemodels", "devicestatuses"):
        versions = found[f"{name}.devices.kubeedge.io"]["versions"]
        assert [(one["name"], one["storage"]) for one in versions] == [("v1beta1", True), ("v1alpha2", False)]
        assert all("subresources" not in one for one in versions)
    assert found["nodegroups.apps.kubeedge.io"]["scope"] == "Cluster"
    assert found["edgeapplications.apps.kubeedge.io"]["names"]["shortNames"] == ["eapp"]
