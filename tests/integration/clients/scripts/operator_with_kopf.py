"""An operator: a ConfigMap for each Greeting, which follows its changes; status, and a finalizer to clean up by."""

import kopf
from kubernetes import client, config

GROUP = ("greetings.kopf.example.com",)


@kopf.on.startup()
def begin(**_: object) -> None:
    """The client that the handlers use."""
    config.load_kube_config()


@kopf.on.create(*GROUP)
def created(spec: dict, name: str, namespace: str, **_: object) -> dict:
    """Make what it stands for."""
    body = {"metadata": {"name": name}, "data": {"text": spec["text"]}}
    kopf.adopt(body)
    client.CoreV1Api().create_namespaced_config_map(namespace, body)
    return {"made": name}


@kopf.on.update(*GROUP, field="spec.text")
def changed(new: str, name: str, namespace: str, patch: kopf.Patch, **_: object) -> None:
    """Follow it."""
    client.CoreV1Api().patch_namespaced_config_map(name, namespace, {"data": {"text": new}})
    patch.status["seen"] = new


@kopf.on.resume(*GROUP)
def resumed(patch: kopf.Patch, **_: object) -> None:
    """Found at a new start of the operator."""
    patch.status["resumed"] = True


@kopf.on.delete(*GROUP)
def deleted(name: str, namespace: str, **_: object) -> None:
    """Leave a trace."""
    client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"name": f"{name}-was-here"}})
