"""The official Python client: create, chunks, watch, every form of patch, replace, scale, errors, dynamic client."""

import sys

from kubernetes import client, config, dynamic, utils, watch

namespace = sys.argv[1]
config.load_kube_config()
core, apps, api = client.CoreV1Api(), client.AppsV1Api(), client.ApiClient()
assert client.VersionApi().get_code().major == "1"

container = client.V1Container(name="c", image="i:v1", ports=[client.V1ContainerPort(container_port=80)])
pod = client.V1Pod(
    metadata=client.V1ObjectMeta(name="p", labels={"a": "b"}), spec=client.V1PodSpec(containers=[container])
)
core.create_namespaced_pod(namespace, pod)
for event in watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=20):
    if event["object"].status.phase == "Running":
        break
found = core.read_namespaced_pod("p", namespace)
assert found.status.container_statuses[0].restart_count == 0
assert found.metadata.creation_timestamp.year > 2000

for number in range(5):
    core.create_namespaced_config_map(
        namespace, client.V1ConfigMap(metadata=client.V1ObjectMeta(name=f"c{number}", labels={"x": "y"}))
    )
page = core.list_namespaced_config_map(namespace, label_selector="x=y", limit=2)
names = [one.metadata.name for one in page.items]
while page.metadata._continue:
    page = core.list_namespaced_config_map(namespace, label_selector="x=y", limit=2, _continue=page.metadata._continue)
    names += [one.metadata.name for one in page.items]
assert names == [f"c{number}" for number in range(5)], names

patched = core.patch_namespaced_config_map("c0", namespace, {"data": {"k": "v"}})
assert patched.data == {"k": "v"}
patched = core.patch_namespaced_config_map("c0", namespace, [{"op": "add", "path": "/data/z", "value": "1"}])
assert patched.data == {"k": "v", "z": "1"}
patched.data = {"only": "this"}
assert core.replace_namespaced_config_map("c0", namespace, patched).data == {"only": "this"}
try:
    core.replace_namespaced_config_map("c0", namespace, patched)
except client.ApiException as error:
    assert (error.status, error.reason) == (409, "Conflict"), error
else:
    raise AssertionError("a stale version was taken")
try:
    core.read_namespaced_pod("none", namespace)
except client.ApiException as error:
    assert error.status == 404
    assert '"reason":"NotFound"' in error.body.replace(" ", "")

labels = {"app": "d"}
template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}}
body = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "d"},
    "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
}
utils.create_from_dict(api, body, namespace=namespace)
apps.patch_namespaced_deployment_scale("d", namespace, {"spec": {"replicas": 2}})
for event in watch.Watch().stream(apps.list_namespaced_deployment, namespace, timeout_seconds=20):
    if event["object"].status.available_replicas == 2:
        break
assert apps.read_namespaced_deployment_scale("d", namespace).status.replicas == 2
account = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
assert core.create_namespaced_service_account_token("default", namespace, account).status.token.count(".") == 2
review = client.V1SelfSubjectAccessReview(
    spec=client.V1SelfSubjectAccessReviewSpec(
        resource_attributes=client.V1ResourceAttributes(verb="get", resource="pods")
    )
)
assert client.AuthorizationV1Api().create_self_subject_access_review(review).status.allowed

maps = dynamic.DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ssa"}, "data": {"a": "1"}}
assert maps.server_side_apply(applied, namespace=namespace, field_manager="python").data.a == "1"
assert (
    client.CustomObjectsApi().list_namespaced_custom_object("devices.kubeedge.io", "v1beta1", namespace, "devices")[
        "items"
    ]
    == []
)
assert core.delete_collection_namespaced_config_map(namespace, label_selector="x=y")
core.delete_namespaced_pod("p", namespace, grace_period_seconds=1)
assert [one.metadata.name for one in core.list_node().items if one.status.node_info.kubelet_version]
assert core.list_event_for_all_namespaces().items
print("fine")
