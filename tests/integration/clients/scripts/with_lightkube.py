"""lightkube, whose models refuse what is not there: create, wait, apply, patch, watch, subresources."""

import sys

from lightkube import ApiError, Client
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Event, Node, Pod
from lightkube.types import PatchType

namespace = sys.argv[1]
client = Client(namespace=namespace, field_manager="lightkube")
client.create(
    Pod(metadata=ObjectMeta(name="p", labels={"a": "b"}), spec=PodSpec(containers=[Container(name="c", image="i:v1")]))
)
pod = client.wait(Pod, "p", for_conditions=["Ready"])
assert pod.status.containerStatuses[0].restartCount == 0
client.create(ConfigMap(metadata=ObjectMeta(name="c"), data={"a": "1"}))
assert client.patch(ConfigMap, "c", {"data": {"b": "2"}}, patch_type=PatchType.MERGE).data == {"a": "1", "b": "2"}
assert client.patch(ConfigMap, "c", [{"op": "remove", "path": "/data/b"}], patch_type=PatchType.JSON).data == {"a": "1"}
applied = client.apply(ConfigMap(metadata=ObjectMeta(name="ssa"), data={"k": "v"}))
assert applied.data == {"k": "v"}
found = client.get(ConfigMap, "c")
found.data = {"new": "x"}
assert client.replace(found).data == {"new": "x"}
try:
    client.get(ConfigMap, "none")
except ApiError as error:
    assert (error.status.code, error.status.reason) == (404, "NotFound")
else:
    raise AssertionError("it was found")
assert {one.metadata.name for one in client.list(ConfigMap, fields={"metadata.name": "c"})} == {"c"}
for how, seen in client.watch(ConfigMap, fields={"metadata.name": "c"}, server_timeout=10):
    assert (how, seen.metadata.name) == ("ADDED", "c")
    break
labels = {"app": "d"}
template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}}
client.create(
    Deployment.from_dict(
        {"metadata": {"name": "d"}, "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}}
    )
)
assert client.wait(Deployment, "d", for_conditions=["Available"]).status.availableReplicas == 1
client.patch(Deployment.Scale, "d", {"spec": {"replicas": 2}}, patch_type=PatchType.MERGE)
assert client.get(Deployment.Scale, "d").spec.replicas == 2
devices = create_namespaced_resource("devices.kubeedge.io", "v1beta1", "Device", "devices")
assert list(client.list(devices)) == []
assert [one.metadata.name for one in client.list(Node)]
assert list(client.list(Event, namespace="*"))
client.delete(Pod, "p", grace_period=0)
client.deletecollection(ConfigMap)
print("fine")
