"""The embedded API server alone, a process with data of its own: what the control plane's figures are taken on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from octoedge.commands.bench.world import DEADLINE, GRACE, PORT_OFFSET, ended
from octoedge.errors import DeadlineError
from octoedge.keadm import cluster
from octoedge.kube.access import Access, kubeconfig

PORT = 6444 + PORT_OFFSET
POLL = 0.005


class Plane:
    """One API server; it keeps its data over `restart`."""

    def __init__(self, folder: Path, port: int = PORT) -> None:
        self.folder = folder
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's id."""
        if self._process is None or self._process.poll() is not None:
            raise DeadlineError(f"the API server is not running; its log ends with:\n{self._last_words()}")
        return self._process.pid

    @property
    def access(self) -> Access:
        """How the administrator reaches it."""
        return kubeconfig(self._kubeconfig)

    def start(self) -> float:
        """Start it; seconds until it says that it is ready."""
        command = [sys.executable, "-m", "octoedge.commands.octoedge", "apiserver", "--data-dir", str(self.folder)]
        began = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*command, "--listen", f"127.0.0.1:{self.port}"], stdout=log, stderr=log)
        while not (self.pid and cluster.is_ready(self._kubeconfig)):
            if time.monotonic() > began + DEADLINE:
                raise DeadlineError(f"the API server was not ready in {DEADLINE:.0f} s:\n{self._last_words()}")
            time.sleep(POLL)
        return time.monotonic() - began

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            ended(process)

    def kill(self) -> None:
        """kill -9."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(GRACE)

    @property
    def _kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def _log(self) -> Path:
        return self.folder.with_name("apiserver.log")

    def _last_words(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])


@asynccontextmanager
async def plane() -> AsyncIterator[Plane]:
    """Start an API server for measuring, and take it away again whatever happens."""
    with tempfile.TemporaryDirectory(prefix="octobench-") as folder:
        at = Plane(Path(folder) / "data")
        at.folder.mkdir()
        try:
            await asyncio.to_thread(at.start)
            yield at
        finally:
            at.stop()
