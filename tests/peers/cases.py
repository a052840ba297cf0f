"""The cases of the matrix, in the order in which they are told: each finds the cell as the one before left it."""

from __future__ import annotations

import base64
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from octoedge.keadm import cluster
from octoedge.pki import x509
from octoedge.testing.eventually import eventually
from octoedge.testing.peers.cell import NODE, Cell

from . import devices, mapping, metaserver

PORT = 30080
PATIENCE = 150.0
"""Seconds until a change must be seen in a pod's files."""

MANIFEST = """
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {word: one, mode: quick}
---
apiVersion: v1
kind: Secret
metadata: {name: hidden}
stringData: {key: first}
---
apiVersion: v1
kind: Pod
metadata: {name: probe, labels: {app: probe}}
spec:
  nodeName: peer
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: octoedge.local/hello:1
    imagePullPolicy: Never
    env:
    - {name: MODE, valueFrom: {configMapKeyRef: {name: words, key: mode}}}
    - {name: KEY, valueFrom: {secretKeyRef: {name: hidden, key: key}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    command: [/bin/sh, -c]
    args:
    - |
      echo "$MODE $KEY $NODE" > /www/env
      cut -d. -f1 /var/run/secrets/kubernetes.io/serviceaccount/token > /www/token
      grep -c BEGIN /var/run/secrets/kubernetes.io/serviceaccount/ca.crt > /www/ca
      echo "the probe speaks"
      trap 'exit 0' TERM
      httpd -f -p 30080 -h /www & wait
    volumeMounts:
    - {name: words, mountPath: /www/words}
    - {name: hidden, mountPath: /www/hidden}
    - {name: www, mountPath: /www}
  volumes:
  - {name: words, configMap: {name: words}}
  - {name: hidden, secret: {secretName: hidden}}
  - {name: www, emptyDir: {}}
"""

SECOND = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: second}}
spec:
  nodeName: peer
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - {name: web, image: "octoedge.local/hello:1", imagePullPolicy: Never, env: [{name: PORT, value: "30081"}]}
"""


MANY = """
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, labels: {app: many}}
data: {filling: FILLING}
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: many}}
spec:
  nodeName: peer
  hostNetwork: true
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: "octoedge.local/hello:1"
    imagePullPolicy: Never
    command: [sleep, "100000"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, configMap: {name: NAME}}]
"""


def join(cell: Cell) -> None:
    """By the token: the CA is checked, a certificate issued, the Node registered and Ready."""
    cell.await_node_ready()
    shown = x509.read_der(ssl.PEM_cert_to_DER_cert(cell.edge.certificate.read_text()), "the node's certificate")
    assert shown.common_name == f"system:node:{NODE}", shown.common_name
    assert shown.organizations == ("system:nodes",), shown.organizations


def pod(cell: Cell) -> None:
    """With a ConfigMap, a Secret and a service account token, as environment and as files."""
    cell.apply(MANIFEST)
    cell.await_ready("probe")
    assert cell.page("env", PORT) == f"quick first {NODE}\n"
    assert cell.page("words/word", PORT) == "one"
    assert cell.page("hidden/key", PORT) == "first"
    assert cell.page("token", PORT).startswith("eyJ")
    assert int(cell.page("ca", PORT)) >= 1


def logs(cell: Cell) -> None:
    """`kubectl logs`, also followed until the client goes; a Go EdgeCore opens its tunnel after 2 s."""
    _await_logs(cell)
    assert "the probe speaks" in cell.listen("logs", "-f", "probe", seconds=3)


def execute(cell: Cell) -> None:
    """`kubectl exec`: output, input of 200 kB, exit status; twenty times in a row."""
    status, out, err = cell.try_kubectl("exec", "probe", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (status, out) == (7, "out\n"), (status, out, err)
    status, out, err = cell.try_kubectl("exec", "-i", "probe", "--", "wc", "-c", stdin="x" * 204_800)
    assert (status, out.split()) == (0, ["204800"]), (status, out, err)
    for number in range(20):
        status, out, err = cell.try_kubectl("exec", "probe", "--", "echo", "hello")
        assert (status, out) == (0, "hello\n"), (number, status, out, err)


def copy(cell: Cell) -> None:
    """`kubectl cp` of a file of 3 MB, there and back, and `kubectl attach`."""
    folder = cell.cloud.layout.home
    there, back = folder / "there", folder / "back"
    there.write_bytes(bytes(range(256)) * 12_000)
    cell.kubectl("cp", str(there), "probe:/tmp/there")
    cell.kubectl("cp", "probe:/tmp/there", str(back))
    assert back.read_bytes() == there.read_bytes()
    cell.listen("attach", "probe", seconds=2)
    assert cell.kubectl("exec", "probe", "--", "echo", "alive") == "alive\n"


def top(cell: Cell) -> None:
    """`kubectl top` where the API is ours; the node's own pages anywhere."""
    summary = cell.get_raw(f"/api/v1/nodes/{NODE}/proxy/stats/summary")
    assert any(pod["podRef"]["name"] == "probe" for pod in summary["pods"]), summary
    if cell.cloud.kubeconfig is None:
        eventually(lambda: "probe" in cell.kubectl("top", "pod", "probe", "--no-headers"), within=60)


def change(cell: Cell) -> None:
    """A label is changed in place, another image starts the container anew."""
    cell.apply(SECOND.replace("NAME", "changing"))
    cell.await_ready("changing")
    cell.kubectl("label", "pod", "changing", "colour=green")
    cell.kubectl("set", "image", "pod/changing", "web=octoedge.local/hello:2")

    def image() -> str:
        status = cell.pod("changing")["status"]["containerStatuses"][0]
        return str(status["image"]) if "running" in status["state"] else ""

    eventually(image, lambda name: name.endswith("hello:2"), within=60)
    cell.kubectl("delete", "pod", "changing", "--wait=false")
    cell.await_gone("changing")


def many(cell: Cell) -> None:
    """Twenty pods at once, each with a ConfigMap of its own of 20 kB: more than a Go edge's inbox of 100 holds."""
    names = [f"many-{number}" for number in range(20)]
    cell.apply("---".join(MANY.replace("NAME", name).replace("FILLING", "x" * 20_000) for name in names))
    for name in names:
        cell.await_ready(name, within=240)
    cell.kubectl("delete", "pod,configmap", "-l", "app=many", "--wait=false")
    for name in names:
        cell.await_gone(name, within=180)


def static(cell: Cell) -> None:
    """A manifest in the node's folder: its mirror pod shows in the API, and goes with the file."""
    file = cell.edge.node.edge / "manifests" / "static.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(SECOND.replace("NAME", "static").replace("  nodeName: peer\n", ""))
    name = f"static-{NODE}"
    found = cell.await_ready(name)
    assert "kubernetes.io/config.mirror" in found["metadata"]["annotations"], found["metadata"]
    file.unlink()
    cell.await_gone(name)


def update(cell: Cell) -> None:
    """A changed ConfigMap and Secret reach the files in the pod."""
    word = _new_word(cell)
    cell.kubectl("patch", "secret", "hidden", "-p", f'{{"stringData":{{"key":"{word}"}}}}')
    _await_word(cell, word)
    eventually(lambda: cell.page("hidden/key", PORT), lambda page: page == word, within=PATIENCE)


def events(cell: Cell) -> None:
    """What the node tells of the pod."""

    def reasons() -> set[str]:
        return {one["reason"] for one in cell.get("events")["items"] if one["involvedObject"].get("name") == "probe"}

    eventually(reasons, lambda seen: {"Created", "Started"} <= seen, within=30)


def delete(cell: Cell) -> None:
    """A deleted pod ends on the node, then goes from the API."""
    cell.apply(SECOND.replace("NAME", "second"))
    cell.await_ready("second")
    cell.kubectl("delete", "pod", "second", "--wait=false")
    cell.await_gone("second")


def restart(cell: Cell) -> None:
    """EdgeCore stopped and started: the container lives on, and changes arrive again."""
    before = _container(cell)
    cell.edge.restart()
    cell.await_contact()
    _await_word(cell, _new_word(cell))
    assert _container(cell) == before
    assert _restarts(cell) == 0


def killed(cell: Cell) -> None:
    """EdgeCore killed by SIGKILL."""
    before = _container(cell)
    cell.edge.edgecore.kill()
    cell.edge.edgecore.start()
    cell.await_contact()
    assert _container(cell) == before
    assert _restarts(cell) == 0


def away(cell: Cell) -> None:
    """Cut off: the pod lives on; what was changed, deleted and made meanwhile is so after the return."""
    cell.apply(SECOND.replace("NAME", "leaving"))
    cell.await_ready("leaving")
    before, word = _container(cell), cell.page("words/word", PORT)
    cell.edge.cut()
    try:
        new = _new_word(cell)
        cell.kubectl("delete", "pod", "leaving", "--grace-period=0", "--force")
        cell.apply(SECOND.replace("NAME", "coming"))
        time.sleep(35)  # the cloud gives up a silent session after 30 s
        assert cell.page("words/word", PORT) == word
    finally:
        cell.edge.mend()
    cell.await_ready("coming", within=150)
    _await_word(cell, new)
    eventually(lambda: "leaving" not in cell.running_pods(), within=90)
    assert _container(cell) == before
    assert _restarts(cell) == 0
    cell.kubectl("delete", "pod", "coming", "--wait=false")
    cell.await_gone("coming")


def alone(cell: Cell) -> None:
    """Without its cloud, containers and EdgeCore killed: the pod comes back with all that it had."""
    before, word = _container(cell), cell.page("words/word", PORT)
    cell.edge.cut()
    try:
        cell.edge.edgecore.kill()
        for task in cell.edge.ctr("tasks", "list", "--quiet").split():
            cell.edge.ctr("tasks", "kill", "--signal", "SIGKILL", task)
        cell.edge.edgecore.start()
        eventually(lambda: cell.page("env", PORT), within=120)
        assert cell.page("words/word", PORT) == word
        assert cell.page("token", PORT).startswith("eyJ")
    finally:
        cell.edge.mend()
    cell.await_contact(within=150)
    eventually(lambda: _container(cell) != before)
    cell.await_ready("probe")


def cloud_restart(cell: Cell) -> None:
    """CloudCore killed by SIGKILL and started: the node comes back by itself."""
    before = _container(cell)
    cell.cloud.cloudcore.kill()
    cell.cloud.start_cloudcore()
    cell.await_contact(within=120)
    _await_word(cell, _new_word(cell))
    assert _container(cell) == before


def rotation(cell: Cell) -> None:
    """A certificate past nine tenths of its life is replaced by a new one, and the node works with it."""
    _give_old_certificate(cell)
    old = cell.edge.certificate.read_text()
    cell.edge.restart()
    eventually(cell.edge.certificate.read_text, lambda now: now not in ("", old), within=60)
    cell.await_contact(within=90)
    shown = x509.read_der(ssl.PEM_cert_to_DER_cert(cell.edge.certificate.read_text()), "the node's certificate")
    assert shown.not_after > time.time() + 300 * 86400
    assert shown.common_name == f"system:node:{NODE}"


def replaced(cell: Cell) -> None:
    """The other make's CloudCore in the place of this one, then back: the node never notices who it is."""
    assert cell.go is not None, "needs the Go programs: set KUBEEDGE_BIN"
    before = _container(cell)
    for go in (None if cell.cloud.go else cell.go, cell.cloud.go):
        cell.cloud.cloudcore.stop(15)
        now = replace(cell, cloud=replace(cell.cloud, go=go))
        now.cloud.start_cloudcore()
        now.await_contact(within=120)
        _await_word(now, _new_word(now))
        _await_logs(now)
        assert _container(now) == before


def afresh(cell: Cell) -> None:
    """The pod anew, after a case has failed: what one make did to it is no matter of the cases that follow."""
    cell.kubectl("delete", "pod", "-l", "app in (probe, second, many)", "--grace-period=0", "--force")
    cell.await_gone("probe")
    cell.apply(MANIFEST)
    cell.await_ready("probe")


def _new_word(cell: Cell) -> str:
    """Change the ConfigMap."""
    word = f"word-{time.monotonic_ns()}"
    cell.kubectl("patch", "configmap", "words", "-p", f'{{"data":{{"word":"{word}"}}}}')
    return word


def _await_word(cell: Cell, word: str) -> None:
    """The Go kubelet looks at its volumes about once a minute."""
    eventually(lambda: cell.page("words/word", PORT), lambda page: page == word, within=PATIENCE)


def _await_logs(cell: Cell) -> None:
    eventually(lambda: "the probe speaks" in cell.kubectl("logs", "probe"), within=60)


def _container(cell: Cell) -> list[str]:
    return cell.running_pods().get("probe", [])


def _restarts(cell: Cell) -> int:
    count: int = cell.pod("probe")["status"]["containerStatuses"][0]["restartCount"]
    return count


def _give_old_certificate(cell: Cell) -> None:
    """Signed by the cloud's own CA, as one that was issued 360 days ago for a year."""
    secret = cluster.api_server(cell.cloud.admin).get("/api/v1/namespaces/kubeedge/secrets/casecret")
    ca = x509.Pair(*(base64.b64decode(secret["data"][key]) for key in ("cadata", "cakeydata")))
    key, request = x509.new_node_request(NODE)
    issued = x509.sign_node(ca, request, NODE, days=365, now=time.time() - 360 * 86400)
    cell.edge.certificate.with_suffix(".key").write_bytes(key)
    cell.edge.certificate.write_bytes(x509.certificate_to_pem(issued))


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table."""

    title: str
    tell: Callable[[Cell], None]
    needed: bool = False
    """Whether those after it make no sense without it."""
    go_mapper: bool = False
    """Whether it is told only where there is one."""


CASES = (
    Case("join by token, node Ready", join, needed=True),
    Case("pod with ConfigMap, Secret, token", pod, needed=True),
    Case("logs", logs),
    Case("exec", execute),
    Case("cp, attach", copy),
    Case("top, node pages", top),
    Case("ConfigMap and Secret updated", update),
    Case("events", events),
    Case("pod changed", change),
    Case("pod deleted", delete),
    Case("20 pods at once", many),
    Case("static pod", static),
    Case("MetaServer", metaserver.tell),
    Case("device over MQTT", devices.over_mqtt),
    Case("EdgeCore restarted", restart),
    Case("EdgeCore killed", killed),
    Case("node away and back", away),
    Case("edge restarted without cloud", alone),
    Case("CloudCore killed", cloud_restart),
    Case("certificate rotated", rotation),
    Case("CloudCore replaced, and back", replaced),
    *(Case(title, partial(mapping.tell, tell, go=False)) for title, tell in mapping.CASES),
    *(
        Case(f"{title} (Go mapper)", partial(mapping.tell, tell, go=True), go_mapper=True)
        for title, tell in mapping.CASES
    ),
)
