"""The Python clients, each a script run by the interpreter that has them: what they validate, the server must send."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.mark.parametrize("name", ["with_kubernetes", "with_kubernetes_asyncio", "with_lightkube", "with_kr8s"])
def test_client(client_python: Path, kubeconfig: Path, namespace: str, name: str) -> None:
    done = subprocess.run(
        [client_python, SCRIPTS / f"{name}.py", namespace],
        env={"KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert done.stdout.splitlines()[-1:] == ["fine"], done.stdout
