"""exec, attach, cp and port-forward with real kubectl and containerd, over WebSocket and over SPDY."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.keadm.toolchain import KUBECTL_PACKAGE, cached_programs
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Done, Installation, fetch

from .pods import await_ready

IMAGE = "octoedge.local/hello:1"
POD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: streams, labels: {{app: streams}}}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: web
      image: {IMAGE}
      command: [sh, -c, "httpd -f -p 8080 -h /etc & while true; do echo tick; sleep 1; done"]
    - name: reads
      image: {IMAGE}
      stdin: true
      command: [sh, -c, "while read line; do echo got $line; done; sleep 1000"]
---
apiVersion: v1
kind: Service
metadata: {{name: streams}}
spec: {{selector: {{app: streams}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""
BOTH = pytest.mark.parametrize("how", ["websocket", "spdy"])


class Kubectl:
    """kubectl that speaks one of the two."""

    def __init__(self, installation: Installation, how: str, package: str = KUBECTL_PACKAGE) -> None:
        self.installation = installation
        on = "true" if how == "websocket" else "false"
        switches = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": on, "KUBECTL_PORT_FORWARD_WEBSOCKETS": on}
        self.environment = {**installation.environment, **switches}
        self.program = str(cached_programs(Path(sys.executable), package, ("kubectl",))[0])

    def __call__(self, *arguments: str | Path, stdin: bytes = b"", timeout: float = 60) -> Done:
        done = subprocess.run(
            [self.program, *map(str, arguments)], input=stdin, capture_output=True, timeout=timeout,
            env=self.environment, check=False,
        )  # fmt: skip
        return Done(done.returncode, done.stdout.decode("latin-1"), done.stderr.decode())

    def start(self, *arguments: str, **options: int) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen([self.program, *arguments], env=self.environment, **pipes)  # type: ignore[call-overload, no-any-return]


@pytest.fixture
def streams(installation: Installation) -> Installation:
    """The installation with the pod."""
    installation.kubectl("apply", "-f", "-", stdin=POD).check()
    await_ready(installation, "streams")
    return installation


@BOTH
def test_output_errors_and_exit_code(streams: Installation, how: str) -> None:
    kubectl = Kubectl(streams, how)
    done = kubectl("exec", "streams", "-c", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.status, done.out) == (3, "out\n")
    assert done.err.startswith("err\n")
    assert kubectl("exec", "streams", "-c", "web", "--", "no-such-program").status != 0


@BOTH
def test_every_byte_goes_in_and_comes_out_and_closed_input_ends_the_command(streams: Installation, how: str) -> None:
    every = bytes(range(256)) * 8192
    done = Kubectl(streams, how)("exec", "-i", "streams", "-c", "web", "--", "sh", "-c", "cat; exit 7", stdin=every)
    assert done.status == 7
    assert done.out == every.decode("latin-1")


@BOTH
def test_a_command_that_reads_little_of_its_input_ends_all_the_same(streams: Installation, how: str) -> None:
    kubectl = Kubectl(streams, how)
    for wanted in ("head -c 5", "head -c 5; exit 3"):
        process = kubectl.start("exec", "-i", "streams", "-c", "web", "--", "sh", "-c", wanted)
        with contextlib.suppress(BrokenPipeError, ValueError):
            out, _ = process.communicate(b"y\n" * (4 << 20), timeout=60)
        assert (out, process.returncode) == (b"y\ny\ny", 3 if "3" in wanted else 0)


@BOTH
def test_files_are_copied_both_ways(streams: Installation, how: str, tmp_path: Path) -> None:
    kubectl = Kubectl(streams, how)
    tree = tmp_path / "tree"
    (tree / "deep" / "er").mkdir(parents=True)
    for number in range(50):
        (tree / "deep" / f"{number}.bin").write_bytes(os.urandom(20_000))
    (tree / "deep" / "link").symlink_to("0.bin")
    (tree / "nowhere").symlink_to("/no/such/file")
    kubectl("cp", tree, f"streams:/tmp/tree-{how}", "-c", "web").check()
    links = kubectl("exec", "streams", "-c", "web", "--", "readlink", f"/tmp/tree-{how}/deep/link")
    assert links.out == "0.bin\n"
    kubectl("cp", f"streams:/tmp/tree-{how}", tmp_path / "back", "-c", "web").check()
    assert digests(tmp_path / "back") == digests(tree)


def digests(folder: Path) -> dict[str, str]:
    # kubectl itself leaves links out on the way back.
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@BOTH
def test_a_terminal_is_driven_as_a_person_would(streams: Installation, how: str) -> None:
    ours, theirs = pty.openpty()
    resize(ours, 33, 99)
    process = Kubectl(streams, how).start(
        "exec", "-it", "streams", "-c", "web", "--", "sh", stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        type_until(ours, b"tty; stty size\n", b"33 99")
        resize(ours, 40, 120)
        process.send_signal(signal.SIGWINCH)
        type_until(ours, b"stty size\n", b"40 120")
        type_until(ours, b"sleep 1000\n", b"sleep 1000")
        type_until(ours, b"\x03", b"^C")
        type_until(ours, b"echo al''ive\n", b"alive")
        os.write(ours, b"exit 4\n")
        assert process.wait(10) == 4
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def resize(terminal: int, rows: int, columns: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def type_until(terminal: int, keys: bytes, shown: bytes, within: float = 10) -> None:
    """Type, and again every second, until it is on the screen."""
    screen = b""
    for _ in range(int(within)):
        os.write(terminal, keys)
        until = time.monotonic() + 1
        while (left := until - time.monotonic()) > 0:
            if select.select([terminal], [], [], left)[0]:
                screen += os.read(terminal, 65536)
            if shown in screen:
                return
    raise AssertionError(f"{shown!r} did not appear; the screen shows {screen[-500:]!r}")


@BOTH
def test_attach_reaches_the_first_process(streams: Installation, how: str) -> None:
    process = Kubectl(streams, how).start("attach", "-i", "streams", "-c", "reads")
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"hello {how}\n".encode())
        process.stdin.flush()
        lines = iter(process.stdout.readline, b"")
        assert any(line == f"got hello {how}\n".encode() for line in lines)
    finally:
        process.kill()
        process.communicate()
    assert f"got hello {how}\n" in streams.kubectl("logs", "streams", "-c", "reads").check()


@pytest.fixture
def port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
        return number


@BOTH
@pytest.mark.parametrize("what", ["pod/streams", "service/streams"])
def test_fifty_connections_through_one_port_forward(streams: Installation, how: str, what: str, port: int) -> None:
    target = "8080" if what.startswith("pod") else "80"
    process = Kubectl(streams, how).start("port-forward", what, f"{port}:{target}")
    pages: list[str] = []

    def get() -> None:
        pages.extend(fetch(f"http://127.0.0.1:{port}/passwd", timeout=30) for _ in range(4))

    try:
        assert process.stdout is not None
        assert b"Forwarding from" in process.stdout.readline()
        reading = threading.Thread(target=process.stdout.read)
        reading.start()
        threads = [threading.Thread(target=get) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(pages) == 200
        assert len(set(pages)) == 1
        assert "root:" in pages[0]
    finally:
        process.kill()
        reading.join()
        process.communicate()


def files_of(installation: Installation, *names: str) -> list[int]:
    """How many files each process has open."""
    return [len(os.listdir(f"/proc/{installation.daemon(name).pid()}/fd")) for name in names]


def test_killed_clients_leave_nothing_behind(streams: Installation) -> None:
    kubectl = Kubectl(streams, "websocket")
    kubectl("exec", "streams", "-c", "web", "--", "true").check()
    before = files_of(streams, "edgecore")
    processes = [kubectl.start("exec", "streams", "-c", "web", "--", "sleep", "1000") for _ in range(10)]
    eventually(lambda: files_of(streams, "edgecore"), lambda now: now[0] >= before[0] + 10)
    for process in processes:
        process.kill()
        process.communicate()
    eventually(lambda: files_of(streams, "edgecore"), lambda now: now[0] <= before[0])


@BOTH
def test_a_node_that_is_away_is_told_at_once_and_what_ran_ends_with_a_sentence(streams: Installation, how: str) -> None:
    kubectl = Kubectl(streams, how)
    running = kubectl.start("exec", "streams", "-c", "web", "--", "sh", "-c", "echo here; sleep 1000")
    assert running.stdout is not None
    assert running.stdout.readline() == b"here\n"
    streams.kill("edgecore")
    _, error = running.communicate(timeout=10)
    assert running.returncode == 1
    assert b"the node may have gone away" in error
    began = time.monotonic()
    done = kubectl("exec", "streams", "-c", "web", "--", "true")
    assert time.monotonic() - began < 1.5  # kubectl itself takes a while
    assert done.status == 1
    assert "node edge-1 has no tunnel to the cloud since 20" in done.err
    streams.up()
    eventually(lambda: kubectl("exec", "streams", "-c", "web", "--", "echo", "back").out, lambda out: out == "back\n")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("exec", ["exec", "streams", "-c", "web", "--", "echo", "se-cret"]),
        ("exec", ["cp", "/etc/hostname", "streams:/tmp/copied", "-c", "web"]),
        ("attach", ["attach", "streams", "-c", "web"]),
        ("portforward", ["port-forward", "streams", ":8080"]),
    ],
    ids=["exec", "cp", "attach", "port-forward"],
)
def test_who_did_what_is_in_the_audit_log(streams: Installation, name: str, arguments: list[str]) -> None:
    file = streams.home / "cloud" / "apiserver" / "audit.log"
    before = file.stat().st_size if file.exists() else 0

    def found() -> list[dict[str, Any]]:
        events = [msgspec.json.decode(line) for line in file.read_bytes()[before:].splitlines()]
        return [event for event in events if event["objectRef"].get("subresource") == name]

    process = Kubectl(streams, "websocket").start(*arguments)
    try:
        event = eventually(found)[0]
    finally:
        process.kill()
        process.communicate()
    assert event["user"]["username"] == "kubernetes-admin"
    assert event["objectRef"]["name"] == "streams"
    assert file.stat().st_mode & 0o077 == 0
    assert "se-cret" not in streams.log("apiserver")


def test_top_and_the_pages_of_the_node(streams: Installation) -> None:
    node = streams.kubectl("top", "nodes").check().splitlines()[1].split()
    assert node[0] == "edge-1"
    assert node[1].endswith("m")
    assert node[3].endswith("Mi")
    rows = streams.kubectl("top", "pods", "--containers").check().splitlines()[1:]
    assert sorted(row.split()[:2] for row in rows) == [["streams", "reads"], ["streams", "web"]]
    for page, text in (
        ("healthz", "ok"), ("pods", '"kind":"PodList"'), ("metrics", "kubelet_running_pods 1"),
        ("metrics/resource", 'container_cpu_usage_seconds_total{container="web",namespace="default",pod="streams"}'),
        ("stats/summary", '"nodeName":"edge-1"'),
    ):  # fmt: skip
        assert text in streams.kubectl("get", "--raw", f"/api/v1/nodes/edge-1/proxy/{page}").check()
