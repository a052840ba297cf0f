"""What an operator in a pod does, with the official Python client: in-cluster configuration, list, get, then watch."""

import os
import sys
from pathlib import Path

from kubernetes import client, watch
from kubernetes.config.incluster_config import InClusterConfigLoader

folder = Path(sys.argv[1])
loader = InClusterConfigLoader(folder / "token", folder / "ca.crt", environ=os.environ)
loader.load_and_set()
core = client.CoreV1Api()
found = core.list_namespaced_config_map("default")
assert "told" in [one.metadata.name for one in found.items]
assert core.read_namespaced_config_map("told", "default").data == {"a": "1"}
events = watch.Watch().stream(core.list_namespaced_config_map, "default", timeout_seconds=20)
assert "told" in (event["object"].metadata.name for event in events)
try:
    core.list_namespaced_secret("default")
except client.ApiException as error:
    assert error.status == 403, error
else:
    raise AssertionError("secrets were listed")
print("fine")
