"""Names of headless Services: pods resolve them, with the cloud and without."""

from __future__ import annotations

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

from .pods import await_ready, container_id

SHOP = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  clusterIP: None
  selector: {app: shop}
  ports: [{name: http, port: 8080}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: shop}
spec:
  serviceName: shop
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: octoedge.local/hello:1
        imagePullPolicy: Never
        env: [{name: PORT, value: "8080"}]
"""
NAME = "shop-1.shop.default.svc.cluster.local"


def test_a_pod_of_a_stateful_set_is_found_by_its_name_also_without_the_cloud(installation: Installation) -> None:
    installation.kubectl("apply", "-f", "-", stdin=SHOP).check()
    try:
        asker = container_id(await_ready(installation, "shop-0"))
        address = await_ready(installation, "shop-1")["status"]["podIP"]
        assert f"nameserver {installation.layout.gateway}\n" in said(installation, asker, "cat", "/etc/resolv.conf")
        eventually(lambda: said(installation, asker, "nslookup", NAME), lambda text: address in text)
        assert f"({address})" in said(installation, asker, "ping", "-c1", "shop-1.shop")
        assert "NXDOMAIN" in said(installation, asker, "nslookup", NAME.replace("shop-1", "shop-7"))
        described = installation.kubectl("describe", "service", "shop").check()
        assert "NoMesh" not in described

        for name in ("cloudcore", "apiserver", "edgecore"):
            installation.daemon(name).stop(10)
        installation.daemon("edgecore").start()
        eventually(lambda: said(installation, asker, "nslookup", NAME), lambda text: address in text)
        assert f"({address})" in said(installation, asker, "ping", "-c1", "shop-1.shop")
    finally:
        installation.up()
        installation.kubectl("delete", "service,statefulset", "shop", "--timeout=30s").check()


def said(installation: Installation, container: str, *command: str) -> str:
    """What a program of the container's says, asked of the runtime itself, whether it succeeds or not."""
    socket = installation.layout.runtime_socket
    asked = ("tasks", "exec", "--exec-id", f"ask-{abs(hash(command)) % 10**9}", container, "/bin/busybox", *command)
    return installation.run("ctr", "--address", socket, "-n", "k8s.io", *asked).out
