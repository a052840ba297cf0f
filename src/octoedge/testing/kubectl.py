"""Real kubectl and helm in tests: one line as a user types it, in a namespace of its own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octoedge.testing.installation import Done

PATIENCE = 50.0
"""Seconds that a command may take; every wait in a test has a shorter one."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program with a kubeconfig; `folder` is its home and where it runs."""

    program: Path
    kubeconfig: Path
    folder: Path
    namespace: str
    environment: dict[str, str] = field(default_factory=dict)

    def run(self, line: str, stdin: str = "", **environment: str) -> Done:
        """Run one line, words split as a shell does."""
        done = subprocess.run(
            [str(self.program), *shlex.split(line)],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
            cwd=self.folder,
            check=False,
            env={
                "HOME": str(self.folder),
                "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
                "KUBECONFIG": str(self.kubeconfig),
                "HELM_NAMESPACE": self.namespace,
                **self.environment,
                **environment,
            },
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def __call__(self, line: str, stdin: str = "", **environment: str) -> str:
        """What it printed; `AssertionError` with all its words when it failed."""
        done = self.run(line, stdin, **environment)
        assert done.status == 0, f"{self.program.name} {line}\nstatus {done.status}\n{done.out}\n{done.err}"
        return done.out

    def refused(self, line: str, stdin: str = "", **environment: str) -> str:
        """What it complained of; `AssertionError` when it succeeded."""
        done = self.run(line, stdin, **environment)
        assert done.status != 0, f"{self.program.name} {line} was not refused:\n{done.out}\n{done.err}"
        return done.out + done.err

    def get(self, what: str) -> Any:
        """`get … -o json`, decoded."""
        return json.loads(self(f"get {what} -o json"))

    def file(self, name: str, text: str) -> Path:
        """A file in its folder."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path
