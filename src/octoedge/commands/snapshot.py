"""`octoedge apiserver snapshot FILE` and `restore FILE`: the control plane as one file, and back, while it runs."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from octoedge.apiserver.store import snapshot
from octoedge.errors import ApiError, StoreError

TEXTS = {
    "snapshot": "write everything that the API server holds to one file; it may run meanwhile",
    "restore": "make the API server hold what a snapshot holds; it may run meanwhile",
}


def main(line: Sequence[str]) -> int:
    """Do what the first word says; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"octoedge apiserver {line[0]}", description=TEXTS[line[0]])
    parser.add_argument("file", type=Path, metavar="FILE")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="of the server; default that of `octoedge up`")
    parsed = parser.parse_args(line[1:])
    return _ACTIONS[line[0]](parsed.file, parsed.data_dir or _of_installation(os.environ))


def take(file: Path, folder: Path) -> int:
    """Write a snapshot."""
    taken = snapshot.take(folder, file, time.time())
    print(f"{file}: {len(taken.objects)} objects at version {taken.head.resource_version}; it holds keys, keep it safe")
    return 0


def restore(file: Path, folder: Path) -> int:
    """Put a snapshot back."""
    from octoedge.apiserver.store.restoration import restore_stopped
    from octoedge.store.lock import Lock

    found = snapshot.read(file)
    lock = Lock(folder / "lock")
    try:
        lock.take()
    except StoreError:
        _ask_running(found, file, folder)
    else:
        with lock:
            asyncio.run(restore_stopped(found, folder))
    print(f"{len(found.objects)} objects of {found.head.made} are back; edges and controllers take them up from here")
    return 0


def _ask_running(found: snapshot.Snapshot, file: Path, folder: Path) -> None:
    from octoedge.apiserver.store.restoration import refuse_other_keys

    refuse_other_keys(found, folder)
    staged = folder / snapshot.STAGED
    fresh = staged.with_name(f"{staged.name}.{os.getpid()}")
    try:
        shutil.copyfile(file, fresh)
        fresh.chmod(0o600)
        fresh.replace(staged)
        asyncio.run(_post(folder))
    finally:
        fresh.unlink(missing_ok=True)


async def _post(folder: Path) -> None:
    from octoedge.apiserver.store.restoration import PATH
    from octoedge.kube.access import kubeconfig
    from octoedge.kube.client import Client

    async with Client(kubeconfig(folder / "admin.kubeconfig")) as client:
        try:
            await client.request("POST", PATH)
        except ApiError as error:
            raise StoreError(f"the API server did not restore it: {error}") from error


def _of_installation(environment: Mapping[str, str]) -> Path:
    from octoedge.keadm import layout

    return layout.existing(environment, "say --data-dir DIR, or set OCTOEDGE_HOME").apiserver_data


_ACTIONS: dict[str, Callable[[Path, Path], int]] = {"snapshot": take, "restore": restore}
