"""Images without a registry, through a mirror, and with credentials."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from octoedge.keadm import image
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation
from octoedge.testing.registry import Registry, serve

from .pods import await_ready, pod

FAR = "registry.far.example/team/hello:1"
PASSWORD = "site:s3cret"


def named(name: str) -> image.Image:
    """Like the sample's image, but for its page, so that no node has it already."""
    hello = image.hello(image.read_busybox())
    files = {**hello.files, "www/index.html": (f"hello from {name}\n".encode(), 0o644)}
    return replace(hello, name=name, files=files)


def manifest(name: str, of: str, **more: object) -> str:
    """A pod of that image."""
    spec = {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "web", "image": of, "env": [{"name": "PORT", "value": "8080"}]}],
        **more,
    }
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})


@pytest.fixture
def registry() -> Iterator[Registry]:
    with serve([named(FAR)], password=PASSWORD) as running:
        yield running


@pytest.fixture
def site(installation: Installation) -> Iterator[Installation]:
    """The installation, without added registries and pulled images at the end."""
    yield installation
    for host in json.loads(installation.octoedge("registry", "list", "-o", "json").check())["registries"]:
        installation.octoedge("registry", "remove", host["host"]).check()
    installation.kubectl("delete", "pods", "--all", "--grace-period=1").check()
    for name in installation.ctr("images", "list", "--quiet").split():
        if not name.startswith(("octoedge.local/", "sha256:")):
            installation.ctr("images", "remove", "--sync", name)


def test_a_pull_goes_through_the_mirror_of_the_site_with_its_password(site: Installation, registry: Registry) -> None:
    add = ("registry", "add", "registry.far.example", "--mirror", registry.url, "--username", "site")
    program = Path(site.environment["PATH"].partition(":")[0], "octoedge")
    site.run(program, *add, "--password-stdin", stdin="s3cret\n").check()
    assert registry.url in site.octoedge("registry", "list").check()
    site.kubectl("apply", "-f", "-", stdin=manifest("far", FAR)).check()
    await_ready(site, "far")
    assert any(status == 200 and "/blobs/" in path for path, _, status in registry.asked)
    assert FAR in site.octoedge("image", "list").check()


def secret(kind: str, host: str, password: str) -> str:
    """A pull secret of either kind."""
    entry = {host: {"username": "site", "password": password}}
    data = {f".{kind}": json.dumps({"auths": entry} if kind == "dockerconfigjson" else entry)}
    about = {"metadata": {"name": "pull"}, "type": f"kubernetes.io/{kind}"}
    return json.dumps({"apiVersion": "v1", "kind": "Secret", **about, "stringData": data})


def test_pull_secrets_are_used_and_a_wrong_password_is_told(site: Installation, registry: Registry) -> None:
    host = f"127.0.0.1:{registry.port}"
    wanted = manifest("near", f"{host}/team/hello:1", imagePullSecrets=[{"name": "pull"}])
    site.kubectl("apply", "-f", "-", stdin=secret("dockerconfigjson", host, "wrong")).check()
    site.kubectl("apply", "-f", "-", stdin=wanted).check()
    waiting = eventually(lambda: _waiting(site, "near"), lambda found: found["reason"] == "ImagePullBackOff")
    assert "401 Unauthorized" in waiting["message"]
    assert "401 Unauthorized" in site.kubectl("describe", "pod", "near").check()
    assert "site" in {user for _, user, _ in registry.asked}

    site.kubectl("delete", "secret", "pull").check()
    site.kubectl("apply", "-f", "-", stdin=secret("dockercfg", host, "s3cret")).check()
    await_ready(site, "near")
    site.kubectl("delete", "secret", "pull").check()


def _waiting(site: Installation, name: str) -> dict[str, str]:
    """Why the pod's container waits; an empty reason until its node has said anything."""
    told = pod(site, name)["status"].get("containerStatuses", [])
    found: dict[str, str] = told[0]["state"].get("waiting", {}) if told else {}
    return {"reason": "", **found}


def test_archives_of_every_kind_are_brought(site: Installation, tmp_path: Path) -> None:
    packed = tmp_path / "oci.tar.gz"
    packed.write_bytes(gzip.compress(image.archive(named("registry.far.example/oci:1")), 1))
    nameless = tmp_path / "nameless.tar"
    nameless.write_bytes(edited(image.archive(named("x/y:1")), without_name))
    site.octoedge("image", "import", packed).check()
    assert "give it one: `--name NAME:TAG`" in site.octoedge("image", "import", nameless).err
    assert site.octoedge("image", "import", nameless, "--name", "mine").check() == (
        "imported docker.io/library/mine:latest\n"
    )
    saved = tmp_path / "saved.tar"
    site.ctr("images", "export", str(saved), "docker.io/library/mine:latest")
    site.octoedge("image", "import", saved).check()
    listed = {one["name"] for one in json.loads(site.octoedge("image", "list", "-o", "json").check())["images"]}
    assert {"registry.far.example/oci:1", "docker.io/library/mine:latest"} <= listed
    assert not [name for name in listed if "bringing" in name]
    assert list(site.layout.images.glob(".unpacking-*")) == []


def without_name(files: dict[str, bytes]) -> None:
    index = json.loads(files["index.json"])
    del index["manifests"][0]["annotations"]
    files["index.json"] = json.dumps(index).encode()


def edited(archive: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """The archive with its files changed."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    change(files)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
