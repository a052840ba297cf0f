"""How registries are reached: containerd's own hosts files, `certs.d/HOST/hosts.toml`, one folder for all nodes.

containerd reads them at every pull, so nothing has to be started anew. A file that a person wrote is as good as ours.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import tomllib
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import ConfigError, InstallError
from octoedge.keadm.files import write

HOST = re.compile(
    r"_default|[a-zA-Z0-9]([-.a-zA-Z0-9]*[a-zA-Z0-9])?(:[0-9]{1,5})?|\[[0-9a-fA-F:]+\](:[0-9]{1,5})?", re.ASCII
)
DOCKER_HUB = "registry-1.docker.io"
HEADER = "# Written by `octoedge registry add`. In containerd's own form; change it as you like.\n"


@dataclass(frozen=True, slots=True)
class Registry:
    """One registry, by the host that stands in image names."""

    host: str
    urls: Sequence[str] = ()
    """Where to ask instead, the first one first; empty: the registry itself."""
    verify: bool = True
    """Whether its certificate has to be right."""
    ca: Path | None = None
    user: str = ""
    password: str = ""


def check(registry: Registry) -> None:
    """Raises `ConfigError` for what containerd would not understand."""
    if not HOST.fullmatch(registry.host):
        raise ConfigError(
            f"{registry.host!r} is no registry's host; wanted is what stands in front of image names, such as docker.io"
            " or registry.example:5000, or _default for all."
        )
    for url in registry.urls:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or set(url) & set('"\\ \n'):
            raise ConfigError(f"{url!r} is no registry's URL; such as http://127.0.0.1:5000, without a password in it.")
    if registry.host == "_default" and not registry.urls:
        raise ConfigError("_default stands for all registries; say by --mirror where to ask instead of them.")
    if registry.ca is not None and not registry.ca.is_file():
        raise ConfigError(f"there is no file {registry.ca}, which is to hold the CA's certificate.")
    if ":" in registry.user or any(ord(sign) < 32 for sign in registry.user + registry.password):
        raise ConfigError("the user's name may hold no colon, and neither it nor the password a control character.")


def hosts(registry: Registry) -> str:
    """The hosts file."""
    own = f"https://{DOCKER_HUB if registry.host == 'docker.io' else registry.host}"
    urls = list(registry.urls) or [own]
    server = [] if registry.host == "_default" else [f"server = {json.dumps(own if registry.urls else urls[0])}\n"]
    return HEADER + "".join([*server, *(_section(registry, url) for url in urls)])


def _section(registry: Registry, url: str) -> str:
    lines = [f"\n[host.{json.dumps(url)}]", '  capabilities = ["pull", "resolve"]']
    if registry.ca is not None:
        lines.append(f"  ca = {json.dumps(str(registry.ca.absolute()))}")
    if not registry.verify:
        lines.append("  skip_verify = true")
    if registry.user:
        secret = base64.b64encode(f"{registry.user}:{registry.password}".encode()).decode()
        lines += [f"  [host.{json.dumps(url)}.header]", f'    Authorization = ["Basic {secret}"]']
    return "\n".join(lines) + "\n"


def add(folder: Path, registry: Registry) -> Path:
    """Write its hosts file, over an older one. Raises `ConfigError`."""
    check(registry)
    path = folder / registry.host / "hosts.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, hosts(registry))
    return path


def remove(folder: Path, host: str) -> None:
    """Forget it. Raises `InstallError` when it is not there."""
    if not HOST.fullmatch(host) or not (folder / host).is_dir():
        known = ", ".join(sorted(entries(folder))) or "none"
        raise InstallError(f"there is no registry {host} in {folder}; there are: {known}.")
    shutil.rmtree(folder / host)


def entries(folder: Path) -> dict[str, list[str]]:
    """The registries and where they are asked for. A file that cannot be read is told in place of that."""
    files = sorted(folder.glob("*/hosts.toml"))
    return {file.parent.name: _urls(file) for file in files}


def _urls(file: Path) -> list[str]:
    try:
        content = tomllib.loads(file.read_text())
    except (OSError, ValueError) as problem:
        return [f"{file} cannot be understood: {problem}"]
    found = content.get("host")
    return [*(found if isinstance(found, dict) else ()), *([str(content["server"])] if "server" in content else ())]
