"""kubernetes_asyncio: create, watch until ready, patch, delete."""

import asyncio
import sys

from kubernetes_asyncio import client, config, watch

namespace = sys.argv[1]


async def main() -> None:
    """Everything once."""
    await config.load_kube_config()
    async with client.ApiClient() as api:
        core = client.CoreV1Api(api)
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i:v1"}]}}
        await core.create_namespaced_pod(namespace, pod)
        async with watch.Watch().stream(core.list_namespaced_pod, namespace, timeout_seconds=20) as events:
            async for event in events:
                if event["object"].status.phase == "Running":
                    break
        patched = await core.patch_namespaced_pod("p", namespace, {"metadata": {"labels": {"a": "b"}}})
        assert patched.metadata.labels == {"a": "b"}
        assert len((await core.list_namespaced_pod(namespace, label_selector="a=b")).items) == 1
        await core.delete_namespaced_pod("p", namespace)
    print("fine")


asyncio.run(main())
