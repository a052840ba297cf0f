"""A whole installation for tests and measurements: the real `octoedge up`, real kubectl, real containerd.

It lives in a home and on ports of its own, beside whatever else runs on the machine.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octoedge.keadm import register
from octoedge.keadm.daemons import daemons, of_node
from octoedge.keadm.layout import Layout, load
from octoedge.keadm.processes import Daemon
from octoedge.keadm.toolchain import cached_kubectl


@dataclass(frozen=True, slots=True)
class Done:
    """How a program ended and what it said."""

    status: int
    out: str
    err: str

    def check(self) -> str:
        """What it printed; `AssertionError` with all its words when it failed."""
        assert self.status == 0, f"status {self.status}\n{self.out}\n{self.err}"
        return self.out


@dataclass(frozen=True, slots=True)
class Installation:
    """One cloud and one edge node; `offset` keeps its ports apart."""

    home: Path
    offset: int

    @property
    def layout(self) -> Layout:
        """Where everything is; only after `up`."""
        found = load(self.environment)
        assert found is not None, f"nothing is set up in {self.home}"
        return found

    @property
    def environment(self) -> dict[str, str]:
        """What a user of this installation has in the shell."""
        programs = Path(sys.executable).parent
        kubectl = cached_kubectl(Path(sys.executable)).parent
        return {
            **os.environ,
            "OCTOEDGE_HOME": str(self.home),
            "OCTOEDGE_PORT_OFFSET": str(self.offset),
            "KUBECONFIG": str(self.home / "kubeconfig"),
            "KUBECACHEDIR": str(self.home.with_name(f"{self.home.name}-kubectl")),
            "PATH": f"{programs}:{kubectl}:{os.environ.get('PATH', '/usr/bin:/bin')}",
        }

    def run(self, *command: str | Path, stdin: str = "", timeout: float = 120) -> Done:
        """Run a program in the user's shell environment."""
        done = subprocess.run(
            [str(word) for word in command],
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=self.environment,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def octoedge(self, *arguments: str | Path) -> Done:
        """Run `octoedge …`."""
        return self.run(Path(sys.executable).with_name("octoedge"), *arguments)

    def kubectl(self, *arguments: str | Path, stdin: str = "", timeout: float = 60) -> Done:
        """Run kubectl 1.32."""
        return self.run(cached_kubectl(Path(sys.executable)), *arguments, stdin=stdin, timeout=timeout)

    def ctr(self, *arguments: str) -> str:
        """Ask containerd behind everybody's back."""
        return self.ctr_of(self.layout.node, *arguments)

    def ctr_of(self, node: str, *arguments: str) -> str:
        """The same on a node of that name."""
        return self.run("ctr", "--address", self.node(node).runtime_socket, "-n", "k8s.io", *arguments).check()

    def up(self, *flags: str) -> str:
        """`octoedge up`, to the end; without the sample, whose pod tests would meet."""
        return self.octoedge("up", "--no-sample", *flags).check()

    def down(self, *, purge: bool = False) -> str:
        """`octoedge down`."""
        return self.octoedge("down", *(("--purge",) if purge else ())).check()

    def get(self, *what: str) -> Any:
        """`kubectl get … -o json`; `AssertionError` when it is not there."""
        return json.loads(self.kubectl("get", *what, "-o", "json").check())

    def status(self) -> dict[str, dict[str, Any]]:
        """`octoedge status -o json` by component; those of a further node are called `edgecore@edge-2`."""
        parts = json.loads(self.octoedge("status", "-o", "json").out)["components"]
        first = self.layout.node
        return {
            part["name"] + (f"@{part['node']}" if part["node"] not in (None, first) else ""): part for part in parts
        }

    def daemon(self, name: str) -> Daemon:
        """A process of the installation; `edgecore@edge-2` is that of a further node."""
        name, _, node = name.partition("@")
        return of_node(self.node(node))[name] if node else daemons(self.layout)[name]

    def node(self, name: str) -> Layout:
        """Where a node is."""
        return register.load(self.layout).node(name)

    def kill(self, name: str) -> None:
        """kill -9, and wait until it is gone."""
        assert self.daemon(name).pid() is not None, f"{name} does not run"
        self.daemon(name).kill()

    def log(self, name: str) -> str:
        """What a process has said so far."""
        return self.daemon(name).log.read_text(errors="replace")


def fetch(url: str, timeout: float = 5) -> str:
    """The page at a URL."""
    with urllib.request.urlopen(url, timeout=timeout) as answer:  # noqa: S310 - tests ask what they started
        text: str = answer.read(1 << 20).decode()
        return text
