"""Images: present or pulled as the policy says; failures wait longer each time, and only once per image.

Pulls are serial, as the kubelet's default: several at once only share a thin line.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

from octoedge.api.core import Container, Pod
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.objects import Objects, ObjectUnavailable
from octoedge.errors import CriError, DeadlineError, OctoedgeError

FIRST_DELAY, MAX_DELAY = 10.0, 300.0
Say = Callable[[str, str, str], None]
"""Hears (type, reason, message) of what becomes an event."""

_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


class ImageFailed(OctoedgeError):
    """An image cannot be had; `reason` is the container's waiting reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Failure(msgspec.Struct):
    delay: float
    not_before: float
    message: str


class Images:
    """Makes sure that images are there."""

    def __init__(self, runtime: ContainerRuntime, objects: Objects, online: Callable[[], bool] = lambda: True) -> None:
        self._runtime = runtime
        self._objects = objects
        self._online = online
        self._pulling = asyncio.Lock()
        self._failures: dict[str, _Failure] = {}

    async def ensure(self, pod: Pod, container: Container, sandbox: f.SandboxConfig, say: Say) -> f.Image:
        """The image of `container`; Raises `ImageFailed`."""
        name = normal_name(container.image)
        policy = container.image_pull_policy or default_policy(container.image)
        if policy != "Always":
            present = await self._runtime.image_status(name)
            if present is not None:
                say("Normal", "Pulled", f'Container image "{container.image}" already present on machine')
                return present
            if policy == "Never":
                text = f'Container image "{container.image}" is not present with pull policy of Never'
                say("Warning", "ErrImageNeverPull", text)
                raise ImageFailed("ErrImageNeverPull", text)
        elif not self._online() and (present := await self._runtime.image_status(name)) is not None:
            # A node on its own cannot ask a registry; what ran yesterday runs today.
            text = f'Container image "{container.image}" is used as it is on this machine: the cloud is away'
            say("Warning", "PullSkipped", text)
            return present
        self._check_back_off(container.image, say)
        async with self._pulling:
            return await self._pull(pod, container, name, sandbox, say)

    def retry_at(self, image: str) -> float:
        """Loop time before which a failed image is not asked for again."""
        failure = self._failures.get(image)
        return failure.not_before if failure is not None else 0.0

    def _check_back_off(self, image: str, say: Say) -> None:
        failure = self._failures.get(image)
        if failure is not None and failure.not_before > _now():
            text = f'Back-off pulling image "{image}": {failure.message}'
            say("Normal", "BackOff", f'Back-off pulling image "{image}"')
            raise ImageFailed("ImagePullBackOff", text)

    async def _pull(
        self,
        pod: Pod,
        container: Container,
        name: str,
        sandbox: f.SandboxConfig,
        say: Say,
    ) -> f.Image:
        say("Normal", "Pulling", f'Pulling image "{container.image}"')
        started = _now()
        try:
            await self._pull_with_secrets(pod, name, sandbox)
            image = await self._runtime.image_status(name)
        except (CriError, DeadlineError) as error:
            text = error.message if isinstance(error, CriError) else str(error)
            raise self._failed(container.image, text, say) from error
        if image is None:
            raise self._failed(container.image, "the runtime does not know the image after pulling it", say)
        self._failures.pop(container.image, None)
        took = _now() - started
        say("Normal", "Pulled", f'Successfully pulled image "{container.image}" in {took:.3f}s ({image.size} bytes)')
        return image

    async def _pull_with_secrets(self, pod: Pod, name: str, sandbox: f.SandboxConfig) -> None:
        """Try each credential that fits the registry; without one, or after all, anonymously."""
        refused: CriError | None = None
        for auth in [*(await self._credentials(pod, name)), None]:
            try:
                await self._runtime.pull_image(name, auth, sandbox)
            except CriError as error:
                refused = refused or error
            else:
                return
        assert refused is not None
        raise refused

    async def _credentials(self, pod: Pod, name: str) -> list[f.AuthConfig]:
        found: list[f.AuthConfig] = []
        for reference in pod.spec.image_pull_secrets:
            try:
                table = await self._objects.secret(pod.metadata.namespace, reference.name)
            except ObjectUnavailable:
                continue  # As the kubelet: a missing pull secret does not forbid a try without it.
            found += credentials(table or {}, name)
        return found

    def _failed(self, image: str, text: str, say: Say) -> ImageFailed:
        last = self._failures.get(image)
        delay = FIRST_DELAY if last is None else min(last.delay * 2, MAX_DELAY)
        message = f'Failed to pull image "{image}": {text}'
        self._failures[image] = _Failure(delay, _now() + delay, text)
        say("Warning", "Failed", message)
        return ImageFailed("ErrImagePull", text)


def default_policy(image: str) -> str:
    """What an empty imagePullPolicy means."""
    return "Always" if _tag(image) == "latest" else "IfNotPresent"


def normal_name(image: str) -> str:
    """The image name in full, as the runtime keeps it."""
    if not image:
        raise ImageFailed("InvalidImageName", "the container names no image")
    first, slash, rest = image.partition("/")
    if not slash:
        name = f"docker.io/library/{image}"
    elif "." in first or ":" in first or first == "localhost":
        name = image if first != "docker.io" or "/" in rest else f"docker.io/library/{rest}"
    else:
        name = f"docker.io/{image}"
    return name if "@" in name or ":" in name.rpartition("/")[2] else f"{name}:latest"


def registry(name: str) -> str:
    """The registry of a full image name."""
    return name.partition("/")[0]


def credentials(secret: dict[str, bytes], name: str) -> list[f.AuthConfig]:
    """The credentials of a pull secret (`.dockerconfigjson`, `.dockercfg`) for a full image name, the closest first."""
    try:
        modern = msgspec.json.decode(secret.get(".dockerconfigjson", b"{}"), type=dict[str, object]).get("auths")
        table = modern if isinstance(modern, dict) else msgspec.json.decode(secret.get(".dockercfg", b"{}"))
    except msgspec.DecodeError:
        return []
    if not isinstance(table, dict):
        return []
    fitting = [str(server) for server in table if _covers(str(server), name) and isinstance(table[server], dict)]
    return [_auth(table[server]) for server in sorted(fitting, reverse=True)]


def _auth(entry: dict[str, object]) -> f.AuthConfig:
    """Without a server address, as the kubelet's: containerd would hold it against a mirror's, or Docker Hub's own."""
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if not user:
        try:
            user, _, password = base64.b64decode(str(entry.get("auth") or "")).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
    token = str(entry.get("identitytoken") or "")
    return f.AuthConfig(username=user, password=password, identity_token=token)


def _covers(server: str, name: str) -> bool:
    """As the kubelet: `*` stands for a part of the host, and a path for the images below it."""
    host, _, path = server.removeprefix("https://").removeprefix("http://").partition("/")
    if host in _DOCKER_HUB:
        return registry(name) == "docker.io"
    path = re.sub(r"^v[12](/|$)", "", path)
    theirs, ours = host.split("."), registry(name).split(".")
    same = len(theirs) == len(ours) and all(map(fnmatchcase, ours, theirs))
    return same and name.partition("/")[2].startswith(path)


def _tag(image: str) -> str:
    if "@" in image:
        return ""
    last = image.rpartition("/")[2]
    return last.partition(":")[2] or "latest"


def _now() -> float:
    return asyncio.get_running_loop().time()
