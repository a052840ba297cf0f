"""A capture of the running pair, from both ends, and its replay: no Secret in it, and nothing said otherwise."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

SECRET, VARIABLE = "swordfish-4711", "tuna-fish-99"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "captured"},
    "spec": {
        "nodeName": "edge-1",
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "main",
                "image": "octoedge.local/hello:1",
                "command": ["sh", "-c", "trap exit TERM; while :; do sleep 0.2; done"],
                "env": [{"name": "API_TOKEN", "value": VARIABLE}],
                "volumeMounts": [{"name": "secret", "mountPath": "/secret"}],
            }
        ],
        "volumes": [{"name": "secret", "secret": {"secretName": "captured"}}],
    },
}


def start(installation: Installation, source: str, file: Path) -> subprocess.Popen[str]:
    """`octoedge capture`, once it captures."""
    program = Path(sys.executable).with_name("octoedge")
    command = [str(program), "capture", "edge-1", "--from", source, "--for", "10m", "-o", str(file)]
    capturing = subprocess.Popen(command, env=installation.environment, stdout=subprocess.PIPE, text=True)
    eventually(lambda: file.stat().st_size > 0)
    return capturing


def tells_of_the_end(file: Path) -> bool:
    """Whether the cloud's word that the pod is gone has come; the API has it before the node."""
    said = ('"way":"down"', '"operation":"delete"', '"resource":"default/pod/captured"')
    return any(all(word in line for word in said) for line in file.read_text().splitlines())


def test_a_running_pair_is_captured_and_played_again(installation: Installation, tmp_path: Path) -> None:
    files = {source: tmp_path / f"{source}.jsonl" for source in ("cloud", "edge")}
    capturing = {source: start(installation, source, file) for source, file in files.items()}
    try:
        installation.kubectl("create", "secret", "generic", "captured", f"--from-literal=key={SECRET}").check()
        installation.kubectl("apply", "-f", "-", stdin=json.dumps(POD)).check()
        installation.kubectl("wait", "--for=condition=Ready", "pod/captured", "--timeout=60s", timeout=70).check()
        installation.kubectl("delete", "pod", "captured", "--timeout=60s", timeout=70).check()
        eventually(lambda: all(map(tells_of_the_end, files.values())))
        for process in capturing.values():
            process.send_signal(signal.SIGINT)
        for source, process in capturing.items():
            said, _ = process.communicate(timeout=40)
            assert process.returncode == 0, said
            assert f"{files[source]}: " in said
            assert "it ended because whoever asked has ended it" in said
    finally:
        for process in capturing.values():
            process.kill()
            process.wait()
        installation.kubectl("delete", "pod", "captured", "--ignore-not-found", "--grace-period=0", "--force")
        installation.kubectl("delete", "secret", "captured", "--ignore-not-found")
    for file in files.values():
        assert file.stat().st_mode & 0o777 == 0o600
        text = file.read_text()
        assert SECRET not in text
        assert VARIABLE not in text
        assert "c3dvcmRmaXNoLTQ3MTE" not in text
        played = installation.octoedge("replay", file, "-o", "json")
        assert played.status in (0, 1), played.err
        for part in json.loads(played.out):
            verdicts = {one["what"]: one["verdict"] for one in part["messages"]}
            about = {what: verdict for what, verdict in verdicts.items() if what.endswith("default/pod/captured")}
            assert about, part
            assert set(about.values()) == {"same"}, (part["against"], about, played.out)


def test_a_capture_that_nobody_can_give_is_told(installation: Installation, tmp_path: Path) -> None:
    done = installation.octoedge("capture", "--socket", tmp_path / "nobody.sock", "-o", tmp_path / "f")
    assert done.status == 1
    assert "nobody can be asked for a capture" in done.err
    assert not (tmp_path / "f").exists()
    (tmp_path / "there").touch()
    done = installation.octoedge("capture", "--for", "1s", "-o", tmp_path / "there")
    assert (done.status, "is there already" in done.err) == (1, True)


@pytest.mark.parametrize("wrong", [("--for", "soon"), ("--max", "0")])
def test_times_and_sizes_that_are_none(installation: Installation, wrong: tuple[str, str]) -> None:
    done = installation.octoedge("capture", *wrong)
    assert done.status == 2
    assert "is not a number above 0" in done.err
