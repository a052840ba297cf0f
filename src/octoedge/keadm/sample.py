"""What the first `octoedge up` leaves to look at: a web page out of a Deployment, and a thermometer with a setpoint.

It is made once. `sample.json` in the home notes that it was made, or that it is not wanted; from then on it belongs to
the user, and what the user changed or deleted stays so. `octoedge up --sample` brings back what is missing. Of the
thermometer the objects are the user's; what plays it and reads it is one process of the installation (`thermometer`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octoedge.errors import ConfigError, InstallError
from octoedge.keadm import cluster, edgenode, network, thermometer
from octoedge.keadm.files import write
from octoedge.keadm.host import Listener, is_free
from octoedge.keadm.image import HELLO
from octoedge.keadm.layout import Layout
from octoedge.keadm.processes import Daemon
from octoedge.keadm.running import GRACE
from octoedge.keadm.steps import Gone, Step, Written

NAME = "welcome"
FIRST_PORT = 30180
TRIED = 200
PATIENCE, BRIEFLY = 30.0, 5.0
"""Seconds that its page gets to appear, when it is new and later on; it takes about one."""
PAGE = "Hello from the edge!\n"


@dataclass(frozen=True, slots=True)
class Sample:
    """What is noted of it; no port: it is not wanted."""

    port: int | None
    modbus: int | None = None
    """Port of the simulated thermometer; None: there is none, or the user deleted it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


def file(cloud: Layout) -> Path:
    return cloud.home / "sample.json"


def load(cloud: Layout) -> Sample | None:
    """What was decided; None when nothing was yet. Raises `ConfigError`."""
    try:
        noted = json.loads(file(cloud).read_text())
        port, modbus = noted["port"], noted.get("modbus")
        return Sample(None if port is None else int(port), None if modbus is None else int(modbus))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ConfigError(f"{file(cloud)} cannot be understood ({problem}); remove it.") from problem


def save(cloud: Layout, sample: Sample) -> None:
    write(file(cloud), json.dumps({"port": sample.port, "modbus": sample.modbus}) + "\n")


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to tell of the sample, and the sample if it is there as it was made."""

    told: str = ""
    sample: Sample | None = None


def device(cloud: Layout) -> Daemon | None:
    """What plays and reads the thermometer; None when there is to be none."""
    known = load(cloud)
    return thermometer.daemon(cloud, known.modbus) if known is not None and known.modbus is not None else None


def keep_up(cloud: Layout) -> list[Step]:
    """The thermometer, as a step, where there is one."""
    wanted = device(cloud)
    return [] if wanted is None else [Written("thermometer", lambda: wanted.pid() is not None, lambda: _start(wanted))]


def take_down(cloud: Layout) -> Step:
    """The same to be undone."""
    wanted = device(cloud) or thermometer.daemon(cloud, thermometer.FIRST_PORT)
    return Gone("thermometer", lambda: wanted.stop(GRACE))


def make(cloud: Layout, wished: bool | None) -> Shown:
    """Make it if it is wanted and was never made. Raises `InstallError`."""
    known = load(cloud)
    if wished is False:
        if known is None:
            save(cloud, Sample(None))
        return Shown()
    if known is None or wished:
        return _create(cloud, known)
    return Shown() if known.port is None else _found(cloud, known)


def _create(cloud: Layout, known: Sample | None) -> Shown:
    api = cluster.api_server(edgenode.admin(cloud))
    port = _port(api) or (known.port if known else None) or free_port(cloud)
    for path, body in objects(cloud.node, port):
        _make(api, path, body)
    made = Sample(port, _bring_thermometer(cloud, api, known))
    save(cloud, made)
    return _await_page(made, PATIENCE)


def _bring_thermometer(cloud: Layout, api: cluster.Server, known: Sample | None) -> int | None:
    """Started and not waited for: its values come while the page is awaited."""
    if not thermometer.installed():
        return None
    port = thermometer.port_of(api) or (known.modbus if known else None) or thermometer.free_port(cloud.offset)
    for path, body in thermometer.objects(cloud.node, port):
        _make(api, path, body)
    wanted = thermometer.daemon(cloud, port)
    if wanted.pid() is None:
        wanted.start()
    return port


def _start(wanted: Daemon) -> str:
    """It is not waited for: what only shows something must not keep the installation from coming up."""
    return f"pid {wanted.start()}, log {wanted.log}"


def _found(cloud: Layout, sample: Sample) -> Shown:
    """What the user has left of it."""
    api = cluster.api_server(edgenode.admin(cloud))
    if sample.modbus is not None and not thermometer.is_there(api):
        thermometer.daemon(cloud, sample.modbus).stop(GRACE)
        sample = Sample(sample.port)
        save(cloud, sample)
    if not _deployment(api):
        return Shown("The sample was deleted, and stays so; `octoedge up --sample` brings it back.")
    port = _port(api)
    if port is None or not _deployment(api)["spec"].get("replicas"):
        return Shown("The sample is not as it was made, and stays so.")
    if port != sample.port:
        sample = Sample(port, sample.modbus)
        save(cloud, sample)
    return _await_page(sample, BRIEFLY)


def _await_page(sample: Sample, patience: float) -> Shown:
    """Asked for, not believed: after a power cut the API tells of pods that are still to come back."""
    if _within(patience, lambda: _answers(sample)):
        device = f"Device {thermometer.NAME}, " if sample.modbus is not None else ""
        return Shown(f"The sample, {device}Deployment and Service {NAME}, shows its page at {sample.url}", sample)
    return Shown(f"The sample has no pod that is ready yet; `kubectl describe pods -l app={NAME}` says why.")


def free_port(cloud: Layout, count: int = TRIED) -> int:
    """A port that nobody listens on and no rule leads away from. Raises `InstallError`."""
    first = min(FIRST_PORT + cloud.offset, 65536 - count)
    led = network.host_ports()
    found = next((p for p in range(first, first + count) if p not in led and is_free(Listener(p, NAME))), None)
    if found is None:
        raise InstallError(
            f"no port from {first} to {first + count - 1} is free for the sample; `--no-sample` does without."
        )
    return found


def objects(node: str, port: int) -> list[tuple[str, dict[str, Any]]]:
    """Collection and object, in the order in which they are made."""
    about = {"name": NAME, "namespace": "default", "labels": {"app": NAME}}
    container = {
        "name": "web",
        "image": HELLO,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": "PORT", "value": "8080"}],
        "ports": [{"name": "http", "containerPort": 8080, "hostPort": port}],
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
        "volumeMounts": [{"name": "page", "mountPath": "/www"}],
    }
    template = {
        "metadata": {"labels": {"app": NAME}},
        "spec": {
            "terminationGracePeriodSeconds": 5,
            "nodeSelector": {"kubernetes.io/hostname": node},  # the port is to be on this machine
            "containers": [container],
            "volumes": [{"name": "page", "configMap": {"name": NAME}}],
        },
    }
    # A host port has one owner on a node, so the old pod goes before the new one comes.
    spec = {
        "replicas": 1, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"app": NAME}},
        "template": template,
    }  # fmt: skip
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    core = "/api/v1/namespaces/default"
    return [
        (f"{core}/configmaps", _object("v1", "ConfigMap", about, data={"index.html": PAGE})),
        (f"{core}/services", _object("v1", "Service", about, spec={"selector": {"app": NAME}, "ports": ports})),
        (DEPLOYMENTS, _object("apps/v1", "Deployment", about, spec=spec)),
    ]


DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"


def _object(version: str, kind: str, about: dict[str, Any], **content: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": about, **content}


def _make(api: cluster.Server, path: str, body: dict[str, Any]) -> None:
    """What is there already is the user's, and is left as it is."""
    if api.read(f"{path}/{body['metadata']['name']}")[0] != 200:
        api.change("POST", path, body)


def _port(api: cluster.Server) -> int | None:
    """The host port of the Deployment, as it is now; None when there is none."""
    found = _deployment(api)
    try:
        return int(found["spec"]["template"]["spec"]["containers"][0]["ports"][0]["hostPort"])
    except (KeyError, IndexError, TypeError):
        return None


def _answers(sample: Sample) -> bool:
    try:
        return bool(cluster.Server("127.0.0.1", sample.port or 0).read("/", 2)[0])
    except InstallError:
        return False


def _deployment(api: cluster.Server) -> dict[str, Any]:
    status, body = api.read(f"{DEPLOYMENTS}/{NAME}")
    found = json.loads(body) if status == 200 else {}
    return found if isinstance(found, dict) else {}


def _within(seconds: float, look: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
