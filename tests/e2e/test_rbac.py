"""Who may do what, with real kubectl and a real container; what is written down of it; claims find volumes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Done, Installation

READER = "system:serviceaccount:default:reader"
POD = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "box"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "octoedge.local/hello:1", "command": ["sleep", "3600"]}],
    },
}
LOCAL = {
    "accessModes": ["ReadWriteOnce"],
    "capacity": {"storage": "1Gi"},
    "hostPath": {"path": "/tmp/none"},
}
VOLUME = {"kind": "PersistentVolume", "apiVersion": "v1", "metadata": {"name": "disk"}, "spec": LOCAL}
CLAIM = {
    "kind": "PersistentVolumeClaim",
    "apiVersion": "v1",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "500Mi"}}},
}


def audited(installation: Installation) -> list[dict[str, Any]]:
    """The lines of the audit log, oldest first; of the file before it too, for it may have been full just now."""
    log = installation.layout.apiserver_data / "audit.log"
    assert log.stat().st_mode & 0o777 == 0o600
    before = log.with_name("audit.log.1")
    lines = (before.read_text() if before.exists() else "") + log.read_text()
    return [json.loads(line) for line in lines.splitlines()]


@pytest.fixture
def reader(installation: Installation) -> Any:
    """kubectl as a service account that may read Pods and their logs, by its token."""
    kubectl = installation.kubectl
    kubectl("create", "serviceaccount", "reader").check()
    kubectl("create", "role", "reader", "--verb=get,list,watch", "--resource=pods,pods/log").check()
    kubectl("create", "rolebinding", "reader", "--role=reader", "--serviceaccount=default:reader").check()
    token = kubectl("create", "token", "reader").check().strip()
    config = json.loads(kubectl("config", "view", "--raw", "-o", "json").check())
    config["users"][0]["user"] = {"token": token}
    path = installation.home / "reader.kubeconfig"
    path.write_text(json.dumps(config))
    path.chmod(0o600)

    def run(*arguments: str, stdin: str = "") -> Done:
        return kubectl("--kubeconfig", path, *arguments, stdin=stdin)

    yield run
    kubectl("delete", "rolebinding/reader", "role/reader", "serviceaccount/reader").check()


def test_a_token_opens_what_its_role_says_and_no_more(installation: Installation, reader: Any) -> None:
    installation.kubectl("apply", "-f", "-", stdin=json.dumps(POD)).check()
    installation.kubectl("wait", "--for=condition=Ready", "pod/box", "--timeout=40s").check()
    assert READER in reader("auth", "whoami").check()
    assert "box" in reader("get", "pods").check()
    reader("logs", "box").check()
    assert reader("auth", "can-i", "list", "pods").out == "yes\n"
    assert reader("auth", "can-i", "create", "pods/exec").out == "no\n"
    assert "pods/log" in reader("auth", "can-i", "--list").check()
    for arguments, refused in (
        (("exec", "box", "--", "true"), f'User "{READER}" cannot create resource "pods/exec" in API group ""'),
        (("get", "secrets"), 'cannot list resource "secrets" in API group "" in the namespace "default"'),
        (("get", "pods", "-A"), 'cannot list resource "pods" in API group "" at the cluster scope'),
        (("delete", "pod", "box"), 'cannot delete resource "pods" in API group "" in the namespace "default"'),
        (("get", "nodes", "--as=root"), 'cannot impersonate resource "users"'),
        (
            ("create", "clusterrolebinding", "me", "--clusterrole=cluster-admin", f"--user={READER}"),
            'cannot create resource "clusterrolebindings"',
        ),
    ):
        done = reader(*arguments)
        assert done.status != 0
        assert refused in done.err, done.err
    installation.kubectl("create", "role", "execer", "--verb=create", "--resource=pods/exec").check()
    installation.kubectl("create", "rolebinding", "execer", "--role=execer", f"--user={READER}").check()
    assert reader("exec", "box", "--", "echo", "hello").check() == "hello\n"
    installation.kubectl("delete", "rolebinding/execer", "role/execer").check()
    # The installation is shared: other tests have written their own commands, in their own pods, into the same log.
    execs = [
        one
        for one in audited(installation)
        if one["objectRef"].get("subresource") == "exec" and one["user"]["username"] == READER
    ]
    assert {"forbid", "allow"} == {one["annotations"]["authorization.k8s.io/decision"] for one in execs}
    assert {("box", True)} == {(one["objectRef"]["name"], bool(one["sourceIPs"])) for one in execs}
    assert any("command=hello" in one["requestURI"] for one in execs)


def test_roles_are_reconciled_and_granted_by_who_holds_them(installation: Installation) -> None:
    kubectl, team = installation.kubectl, ("--as=ann", "--as-group=team")
    kubectl("create", "rolebinding", "team", "--clusterrole=admin", "--group=team").check()
    try:
        made = kubectl("create", "role", "r", "--verb=get", "--resource=pods", "--dry-run=client", "-o", "json").check()
        role = json.loads(made)
        role["metadata"]["namespace"] = "default"
        kubectl("auth", "reconcile", "-f", "-", *team, stdin=json.dumps(role)).check()
        role["rules"][0]["resources"] = ["nodes"]
        greedy = kubectl("apply", "-f", "-", *team, stdin=json.dumps(role))
        assert "attempting to grant RBAC permissions not currently held" in greedy.err
    finally:
        kubectl("delete", "rolebinding/team").check()
        kubectl("delete", "role/r", "--ignore-not-found").check()


def test_a_claim_is_bound_and_its_volume_released(installation: Installation) -> None:
    kubectl = installation.kubectl
    kubectl("apply", "-f", "-", stdin=json.dumps(CLAIM)).check()
    assert "Pending" in kubectl("get", "pvc", "data", "--no-headers").check()
    kubectl("apply", "-f", "-", stdin=json.dumps(VOLUME)).check()
    kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/data", "--timeout=20s").check()
    assert "default/data" in kubectl("get", "pv", "disk", "--no-headers").check()
    kubectl("delete", "pvc", "data", "--timeout=20s").check()
    eventually(lambda: installation.get("pv", "disk")["status"]["phase"], lambda phase: phase == "Released")
    kubectl("delete", "pv", "disk", "--timeout=20s").check()
