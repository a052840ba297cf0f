"""Static pods as files: what is read, what is refused, and what changes nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.api.core import Pod, view
from octoedge.edge.edged.manifests import MOST_BYTES, Manifests, is_static_uid, refused, static_pod
from octoedge.edge.edged.ranking import is_critical
from octoedge.edge.edged.unsupported import refusals

NOW = "2026-01-01T00:00:00Z"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: gate, labels: {app: gate}}
spec:
  hostNetwork: true
  containers:
    - {name: main, image: busybox, ports: [{containerPort: 80}]}
"""


def read(text: str = POD, file: str = "/m/gate.yaml", node: str = "Edge-1") -> dict[str, Any]:
    return static_pod(text.encode(), file, node, NOW)


def test_a_manifest_becomes_a_pod_of_this_node() -> None:
    obj = read()
    about = obj["metadata"]
    assert (about["name"], about["namespace"]) == ("gate-edge-1", "default")
    assert is_static_uid(about["uid"])
    assert about["annotations"] == {
        "kubernetes.io/config.hash": about["uid"],
        "kubernetes.io/config.source": "file",
        "kubernetes.io/config.seen": NOW,
    }
    assert obj["spec"]["nodeName"] == "Edge-1"
    assert {"operator": "Exists", "effect": "NoExecute"} in obj["spec"]["tolerations"]
    encoded = msgspec.json.encode(obj)
    pod = view(Pod, encoded)
    assert pod.spec.containers[0].ports[0].host_port == 80
    assert is_critical(pod)
    assert refusals(encoded, pod) == []
    assert refused(encoded) == ""


def test_the_uid_is_made_of_content_node_and_place() -> None:
    assert read() == read()
    uids = {
        read()["metadata"]["uid"],
        read(POD.replace("busybox", "other"))["metadata"]["uid"],
        read(file="/m/other.yaml")["metadata"]["uid"],
        read(node="edge-2")["metadata"]["uid"],
    }
    assert len(uids) == 4
    assert not is_static_uid("01234567-89ab-cdef-0123-456789abcdef")


def test_json_is_read_without_yaml() -> None:
    text = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"m","image":"x"}]}}'
    assert read(text)["metadata"]["name"] == "a-edge-1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it holds no object"),
        ("{", "it is no JSON"),
        ("a: [", "it is no YAML"),
        ("apiVersion: v1\nkind: Service", "it holds v1 Service; a static pod is a v1 Pod"),
        ("apiVersion: v1\nkind: Pod\nmetadata: []", "metadata and spec must be objects"),
        (POD.replace("gate,", "Gate_1,"), "makes no pod name together with the node's"),
        (POD.replace("gate,", "x" * 260 + ","), "makes no pod name"),
        (POD.replace("gate,", "!!binary aGk=,"), "makes no pod name"),
    ],
)
def test_what_is_no_pod_is_said(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read(text)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_harms(text: bytes) -> None:
    try:
        obj = static_pod(text, "f", "edge-1", NOW)
    except ValueError:
        return
    refused(msgspec.json.encode(obj))


def test_other_objects_are_out_of_reach() -> None:
    spec = "\n  serviceAccountName: boss\n  volumes: [{name: v, secret: {secretName: s}}]\n  containers:"
    obj = msgspec.json.encode(read(POD.replace("\n  containers:", spec)))
    assert refused(obj).endswith("but this one does: secret s, serviceaccount boss")


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.mkdir()
        self.manifests = Manifests(path, "edge-1")
        self.time = 0

    def write(self, name: str, text: str) -> None:
        file = self.path / name
        file.write_text(text)
        self.time += 1
        os.utime(file, ns=(self.time, self.time))

    def images(self) -> dict[str, str]:
        return {
            file: msgspec.json.decode(obj)["spec"]["containers"][0]["image"]
            for file, obj in self.manifests.pods.items()
        }


def test_a_folder_is_followed(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "m")
    assert not folder.manifests.scan(NOW)
    folder.write("a.yaml", POD)
    folder.write(".hidden.yaml", POD.replace("gate,", "hidden,"))
    assert folder.manifests.scan(NOW)
    assert folder.images() == {"a.yaml": "busybox"}
    assert not folder.manifests.scan(NOW)
    # Touched, not changed: the same pod, when it was seen included.
    folder.write("a.yaml", POD + "# a remark\n")
    assert not folder.manifests.scan("2027-01-01T00:00:00Z")
    folder.write("a.yaml", POD.replace("busybox", "other"))
    assert folder.manifests.scan(NOW)
    assert folder.images() == {"a.yaml": "other"}
    (folder.path / "a.yaml").unlink()
    assert folder.manifests.scan(NOW)
    assert folder.images() == {}


def test_a_broken_file_or_folder_ends_nothing(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "m")
    folder.write("a.yaml", POD)
    assert folder.manifests.scan(NOW)
    for broken in ("half: [", POD.replace("kind: Pod", "kind: Pot"), "x" * (MOST_BYTES + 1)):
        folder.write("a.yaml", broken)
        folder.manifests.scan(NOW)
        assert folder.images() == {"a.yaml": "busybox"}
    folder.path.rename(tmp_path / "away")
    assert not folder.manifests.scan(NOW)
    assert not folder.manifests.readable
    assert folder.images() == {"a.yaml": "busybox"}


def test_two_files_cannot_hold_the_same_pod(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "m")
    folder.write("a.yaml", POD)
    folder.write("b.yaml", POD.replace("busybox", "second"))
    folder.manifests.scan(NOW)
    assert folder.images() == {"a.yaml": "busybox"}
