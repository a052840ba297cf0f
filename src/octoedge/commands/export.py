"""`octoedge export DIR`: the cluster as manifests for a real Kubernetes, the CA and identities of nodes included.

    discovery → every kind that can be listed → `kube.manifests.portable` → DIR/NN-what.yaml, created in this order

CloudCore at the other cluster finds its CA, its certificate and the tokens in namespace `kubeedge`, so that nodes keep
their certificates. The files hold keys and Secrets: the folder is for its owner only.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from octoedge.commands.identity import add_kubeconfig, ask
from octoedge.errors import ApiError, ConfigError
from octoedge.kube.client import Client
from octoedge.kube.kinds import Kind
from octoedge.kube.manifests import file_of, portable

Json = dict[str, Any]

_VERBS = {"list", "create"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to, and of which cluster."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="a new folder; it will hold keys and Secrets")
    add_kubeconfig(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the files and say what is to be done with them."""
    folder: Path = arguments.folder
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is there and not empty; name a new folder")
    files = ask(arguments.kube_config, manifests)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name, objects in sorted(files.items()):
        _write(folder / f"{name}.yaml", objects)
        print(f"{name}.yaml: {len(objects)} objects")
    print(
        f"\n{folder} holds keys and Secrets. At the other cluster: `kubectl create -f {folder}`, then point CloudCore "
        "at it (kubeAPIConfig.kubeConfig in cloudcore.yaml) and stop the API server here."
    )
    return 0


async def manifests(client: Client) -> dict[str, list[Json]]:
    """File name → its objects."""
    files: dict[str, list[Json]] = {}
    async for kind in _kinds(client):
        for raw in (await client.list(kind)).items:
            obj: Json = {"apiVersion": kind.api_version, "kind": kind.kind, **msgspec.json.decode(raw)}
            made = portable(obj)
            if made is not None:
                files.setdefault(file_of(kind.kind), []).append(made)
    return files


async def _kinds(client: Client) -> AsyncIterator[Kind]:
    """Every kind that can be listed and created, in the version that the server prefers."""
    groups = msgspec.json.decode(await client.request("GET", "/apis"))["groups"]
    places = [("", "v1"), *((group["name"], group["preferredVersion"]["version"]) for group in groups)]
    seen: set[str] = set()
    for group, version in places:
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        try:
            resources = msgspec.json.decode(await client.request("GET", root))["resources"]
        except ApiError as error:
            raise ConfigError(f"{root} cannot be read ({error.code}), so this would not be all: {error}") from error
        for one in resources:
            if "/" in one["name"] or not set(one["verbs"]) >= _VERBS or (group == "events.k8s.io"):
                continue
            kind = Kind(one["name"], one["kind"], group, version, namespaced=one["namespaced"])
            if f"{kind.kind}.{group}" not in seen:
                seen.add(f"{kind.kind}.{group}")
                yield kind


def _write(path: Path, objects: list[Json]) -> None:
    text = yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, explicit_start=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
