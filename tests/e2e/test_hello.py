"""What the README promises: a Pod goes from kubectl to containerd and away again."""

from __future__ import annotations

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch

from .pods import HELLO, PAGE, URL, apply_hello, container_id, pod


def test_the_node_joined_for_real(installation: Installation) -> None:
    words = installation.kubectl("get", "nodes").check().splitlines()[1].split()
    assert words[:3] == ["edge-1", "Ready", "agent,edge"]
    assert words[-1].startswith("v1.32.")
    assert "-octoedge-v" in words[-1]
    assert (installation.layout.edge / "pki" / "server.crt").read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_the_join_token_does_not_stay_on_the_node(installation: Installation) -> None:
    text = installation.layout.edgecore_file.read_text()
    assert "token: ''" in text or 'token: ""' in text


def test_a_pod_comes_and_goes(installation: Installation) -> None:
    found = apply_hello(installation)
    assert found["spec"]["nodeName"] == "edge-1"
    assert container_id(found) in installation.ctr("containers", "list", "--quiet")
    line = installation.kubectl("get", "pod", "hello", "-o", "wide").check().splitlines()[1].split()
    assert line[:4] == ["hello", "1/1", "Running", "0"]
    assert eventually(lambda: fetch(URL)) == PAGE
    assert fetch(URL.replace("127.0.0.1", found["status"]["hostIP"])) == PAGE
    logs = eventually(lambda: installation.kubectl("logs", "hello").check(), lambda text: "200" in text)
    assert logs.startswith("hello from ")

    installation.kubectl("delete", "-f", HELLO).check()
    assert "NotFound" in installation.kubectl("get", "pod", "hello").err
    eventually(lambda: installation.ctr("containers", "list", "--quiet"), lambda ids: ids == "")
    assert list((installation.layout.edge / "kubelet" / "pods").iterdir()) == []


def test_logs_can_be_followed_and_cut(installation: Installation) -> None:
    apply_hello(installation)
    fetch(URL)
    assert installation.kubectl("logs", "hello", "--tail=1").check().count("\n") == 1
    assert "Z hello from " in installation.kubectl("logs", "hello", "--timestamps").check()
    words = installation.run("timeout", "2", "kubectl", "logs", "-f", "hello")
    assert words.status == 124
    assert words.out.startswith("hello from ")


def test_logs_of_nothing_are_an_error(installation: Installation) -> None:
    assert "not found" in installation.kubectl("logs", "nobody").err
    apply_hello(installation)
    assert "container other is not valid for pod hello" in installation.kubectl("logs", "hello", "-c", "other").err


def test_applying_again_changes_nothing(installation: Installation) -> None:
    before = apply_hello(installation)
    words = installation.kubectl("apply", "-f", HELLO).check()
    # Of the Pod kubectl says "configured": the API server added a volume, so it sends an order of volumes again.
    assert words.startswith("configmap/hello unchanged\npod/hello ")
    after = pod(installation, "hello")
    assert (after["spec"], container_id(after)) == (before["spec"], container_id(before))


def test_a_changed_configmap_reaches_the_container(installation: Installation) -> None:
    apply_hello(installation)
    patch = '{"data": {"index.html": "changed"}}'
    installation.kubectl("patch", "configmap", "hello", "--type=merge", "-p", patch).check()
    eventually(lambda: fetch(URL), lambda page: page == "changed")


def test_describe_tells_the_story(installation: Installation) -> None:
    apply_hello(installation)
    described = eventually(
        lambda: installation.kubectl("describe", "pod", "hello").check(), lambda text: "Started container" in text
    )
    assert "octoedge.local/hello:1" in described
    assert "edge-1" in described
