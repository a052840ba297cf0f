"""kr8s: create, wait, patch, labels, scale, delete; it asks for /version/ and /api/ with a slash at the end."""

import sys

import kr8s
from kr8s.objects import ConfigMap, Deployment, Pod

namespace = sys.argv[1]
api = kr8s.api(namespace=namespace)
assert api.version()["major"] == "1"
pod = Pod({"metadata": {"name": "p", "namespace": namespace}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}})
pod.create()
pod.wait("condition=Ready", timeout=20)
assert pod.ready()
pod.label({"a": "b"})
assert [one.name for one in kr8s.get("pods", namespace=namespace, label_selector={"a": "b"})] == ["p"]
mapped = ConfigMap({"metadata": {"name": "c", "namespace": namespace}, "data": {"a": "1"}})
mapped.create()
mapped.patch({"data": {"b": "2"}})
assert mapped.raw["data"] == {"a": "1", "b": "2"}
template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}}
spec = {"replicas": 1, "selector": {"matchLabels": {"app": "d"}}, "template": template}
deployment = Deployment({"metadata": {"name": "d", "namespace": namespace}, "spec": spec})
deployment.create()
deployment.scale(2)
deployment.wait("condition=Available", timeout=20)
pod.delete()
try:
    Pod.get("none", namespace=namespace)
except kr8s.NotFoundError:
    print("fine")
