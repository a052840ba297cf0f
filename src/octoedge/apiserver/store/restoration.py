"""Restoring a snapshot: while the server runs, on its administrator's request, or while it does not.

    running:  FILE → checked copy in the data folder → POST /octoedge/restore → one commit → every watch begins anew
    stopped:  FILE → checked → keys → one commit

A kill at any instruction leaves what was before, or what the snapshot holds.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from octoedge.apiserver.serving.requests import Answer, json_answer, success
from octoedge.apiserver.store import snapshot
from octoedge.apiserver.store.backend import Backend
from octoedge.errors import ApiError, OctoedgeError, StoreError

PATH = "/octoedge/restore"


class Restoration:
    """What a running server does when it is asked."""

    def __init__(self, backend: Backend, folder: Path) -> None:
        self._backend = backend
        self._folder = folder

    async def answer(self) -> Answer:
        """Restore what lies ready in the data folder."""
        staged = self._folder / snapshot.STAGED
        try:
            found = await asyncio.to_thread(snapshot.read, staged)
            refuse_other_keys(found, self._folder)
            version = await self._backend.restore(found.objects, found.head.resource_version)
        except OctoedgeError as error:
            raise ApiError(422, "Invalid", str(error)) from error
        finally:
            staged.unlink(missing_ok=True)
        return json_answer(success({"name": found.head.made, "kind": "snapshot", "uid": str(version)}))


async def restore_stopped(found: snapshot.Snapshot, folder: Path) -> int:
    """Put a snapshot into a data folder that no server uses; the newest version afterwards. Raises `StoreError`."""
    snapshot.put_keys(found, folder)
    backend = Backend(folder / "state.db", lambda _resource, _obj: {})
    try:
        async with asyncio.TaskGroup() as group:
            writing = group.create_task(backend.run(lambda: None), name="backend")
            version = await backend.restore(found.objects, found.head.resource_version)
            writing.cancel()
    finally:
        backend.close()
    return version


def refuse_other_keys(found: snapshot.Snapshot, folder: Path) -> None:
    """A running server cannot become another one."""
    others = snapshot.differing_keys(found, folder)
    if others:
        raise StoreError(
            f"the snapshot is of another API server ({', '.join(others)} differ): stop this one first, "
            "then restore; its clients need the new kubeconfigs"
        )
