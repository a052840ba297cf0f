"""Without the cloud the edge goes on by what it has stored: pods come back, service account token included."""

from __future__ import annotations

import dataclasses
import functools
import time

from octoedge.keadm import packages
from octoedge.keadm.processes import Daemon
from octoedge.runtime.clock import parse_rfc3339
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch

from .pods import URL, await_ready, container_id

TOKEN_POD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {index.html: "still here"}
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: octoedge.local/hello:1
    imagePullPolicy: Never
    command: [/bin/sh, -c]
    args:
    - |
      mkdir /tmp/www && cp /page/index.html /tmp/www/
      cut -d. -f1 /var/run/secrets/kubernetes.io/serviceaccount/token > /tmp/www/token
      exec httpd -f -p 30080 -h /tmp/www
    volumeMounts:
    - {name: page, mountPath: /page}
  volumes:
  - name: page
    configMap: {name: page}
"""


def off_by(daemon: Daemon, hours: int) -> Daemon:
    """The same program, whose clock is so many hours off; the machine's own stays as it is."""
    library = packages.faketime()
    assert library is not None, "the package libfaketime is missing: octoedge prepare --for test"
    clock = {"LD_PRELOAD": str(library), "FAKETIME": f"{hours:+}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return dataclasses.replace(daemon, environment={**daemon.environment, **clock})


def lease(installation: Installation) -> str:
    """When the node's Lease was renewed."""
    found = installation.get("lease", installation.layout.node, "-n", "kube-node-lease")
    return str(found["spec"]["renewTime"])


def test_pods_come_back_without_the_cloud(installation: Installation) -> None:
    installation.kubectl("apply", "-f", "-", stdin=TOKEN_POD).check()
    before = await_ready(installation, "alone")
    assert eventually(lambda: fetch(URL)) == "still here"
    assert fetch(URL + "token").startswith("eyJ")

    for name in ("cloudcore", "apiserver"):
        installation.daemon(name).stop(10)
    installation.daemon("edgecore").stop(10)
    assert fetch(URL) == "still here"

    for hours in (0, -9, 9):  # by the last one the token has expired
        installation.daemon("edgecore").stop(10)
        for task in installation.ctr("tasks", "list", "--quiet").split():
            installation.ctr("tasks", "kill", "--signal", "SIGKILL", task)
        off_by(installation.daemon("edgecore"), hours).start()
        eventually(lambda: fetch(URL), lambda page: page == "still here")
        assert fetch(URL + "token").startswith("eyJ")

    installation.up()
    renewed = functools.partial(lease, installation)
    before_now = renewed()
    eventually(renewed, lambda at: at > before_now)  # the cloud keeps it, by its own clock
    assert abs(time.time() - parse_rfc3339(renewed())) < 60
    installation.daemon("edgecore").stop(10)
    installation.up()
    after = eventually(
        lambda: await_ready(installation, "alone"), lambda found: container_id(found) != container_id(before)
    )
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_status_names_the_first_broken_link(installation: Installation) -> None:
    installation.kill("cloudcore")
    words = installation.octoedge("status")
    assert words.status == 1
    assert "What is wrong: CloudCore: it has died" in words.out
    parts = installation.status()
    assert [name for name, part in parts.items() if not part["ok"]] == ["cloudcore", "edgecore"]
    assert parts["apiserver"]["ok"]
