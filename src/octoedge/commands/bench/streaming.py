"""Into a container and out of it: logs, exec, port-forward; what they cost, and what they leave for everybody else.

The bytes go API server → CloudCore → tunnel → edgecore → container runtime and back, with the real kubectl where a
person would use it. CPU time is that of our three processes together.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from octoedge.commands.bench.process import cpu_seconds, memory
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.world import DEADLINE, PORT_OFFSET, World, pod
from octoedge.errors import DeadlineError
from octoedge.keadm.toolchain import cached_kubectl
from octoedge.kube.access import kubeconfig

OURS = ("apiserver", "cloudcore", "edgecore")
LOG_MEGABYTES, LINE = 7, "0123456789" * 9 + "012345678"
"""With stamps below the size at which a log is rotated; a line as long as programs write them, a hundred bytes."""
MEGABYTES = 100
RUNS = 3
EXECS = 10
REQUESTS = 400
CLIENTS = 8
IDLE = 200
SETTLE = 3.0
SERVED, LOCAL = 8088 + PORT_OFFSET, 8089 + PORT_OFFSET
SCRIPT = (
    f"/bin/busybox yes {LINE} | /bin/busybox head -c {LOG_MEGABYTES}000000; "
    "/bin/busybox mkdir -p /tmp/www; echo small > /tmp/www/small; "
    f"/bin/busybox dd if=/dev/zero of=/tmp/www/large bs=1000000 count={MEGABYTES} 2>/dev/null; "
    f"exec /bin/busybox httpd -f -p 127.0.0.1:{SERVED} -h /tmp/www"
)


async def streams(world: World) -> Samples:
    """One pod that has a log and serves files."""
    container = {**pod("talker")["spec"]["containers"][0], "command": ["/bin/busybox", "sh", "-c", SCRIPT]}
    await world.apply_pod("talker", containers=[container])
    try:
        await asyncio.to_thread(_until_served)
        return await asyncio.to_thread(_measured, world)
    finally:
        await world.delete_pod("talker")


def flat_out(world: World, name: str, count: int) -> contextlib.ExitStack:
    """Let a pod write as fast as it can to so many clients, until the stack is closed."""
    kubectl = _kubectl(world)
    _until_reachable(kubectl, name)
    held = contextlib.ExitStack()
    for _ in range(count):
        program = ["/bin/busybox", "cat", "/dev/zero"]
        process = subprocess.Popen([*kubectl, "exec", name, "--", *program], stdout=subprocess.DEVNULL)
        held.callback(process.wait, DEADLINE)
        held.callback(process.kill)
    return held


def _kubectl(world: World) -> list[str]:
    return [str(cached_kubectl(Path(sys.executable))), "--kubeconfig", str(world.layout.kubeconfig)]


def _measured(world: World) -> Samples:
    samples: Samples = {}
    kubectl = _kubectl(world)
    _until_reachable(kubectl, "talker")
    alone = [_timed(lambda: _run(kubectl, "version", "--client")) for _ in range(EXECS)]
    samples["exec_round_trip"] = [
        _timed(lambda: _run(kubectl, "exec", "talker", "--", "/bin/busybox", "true")) for _ in range(EXECS)
    ]
    samples["exec_own"] = [seconds - min(alone) for seconds in samples["exec_round_trip"]]
    samples |= _throughput(world, "logs", lambda: _read_log(world))
    samples |= _throughput(world, "exec", lambda: _read_exec(kubectl))
    with _forwarded(kubectl):
        samples["idle_stream"] = [_idle_streams(world)]
        samples |= _throughput(world, "forward", lambda: _fetch("/large"))
        samples["forward_requests"] = [_requests()]
    return samples


def _throughput(world: World, name: str, read: Callable[[], int]) -> Samples:
    """MB/s and CPU seconds per GB of one way out."""
    rates: list[float] = []
    total = 0
    busy = _cpu(world)
    for _ in range(RUNS):
        began = time.monotonic()
        size = read()
        rates.append(size / 1e6 / (time.monotonic() - began))
        total += size
    return {f"{name}_throughput": rates, f"{name}_cpu": [(_cpu(world) - busy) / (total / 1e9)]}


def _cpu(world: World) -> float:
    return sum(cpu_seconds(world.pid(name)) for name in OURS)


def _read_log(world: World) -> int:
    """Read the whole log in megabyte pieces, as fast as it comes."""
    access = kubeconfig(world.layout.kubeconfig)
    url = urllib.parse.urlsplit(access.server)
    connection = http.client.HTTPSConnection(
        url.hostname or "127.0.0.1", url.port or 443, context=access.tls, timeout=DEADLINE
    )
    connection.request("GET", "/api/v1/namespaces/default/pods/talker/log")
    answer = connection.getresponse()
    size = 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    connection.close()
    return _enough(size, LOG_MEGABYTES, f"the log (HTTP status {answer.status})")


def _read_exec(kubectl: list[str]) -> int:
    """As `kubectl cp` reads: what a program in the container writes."""
    program = ["/bin/busybox", "cat", "/tmp/www/large"]  # noqa: S108 (of the container)
    process = subprocess.Popen([*kubectl, "exec", "talker", "--", *program], stdout=subprocess.PIPE)
    assert process.stdout is not None
    size = 0
    with process.stdout as out:
        while piece := out.read(1 << 20):
            size += len(piece)
    process.wait(DEADLINE)
    return _enough(size, MEGABYTES, "exec")


def _enough(size: int, megabytes: int, what: str) -> int:
    if size < megabytes * 1_000_000:
        raise DeadlineError(f"{what} gave {size} bytes of {megabytes} MB")
    return size


@contextmanager
def _forwarded(kubectl: list[str]) -> Iterator[None]:
    process = subprocess.Popen(
        [*kubectl, "port-forward", "pod/talker", f"{LOCAL}:{SERVED}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _until_served(LOCAL)
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE)


def _until_served(port: int = SERVED) -> None:
    """Wait until a port of this machine is listened on (the pod is on the host's network)."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise DeadlineError(f"nobody listened on port {port} in {DEADLINE:.0f} s")


def _until_reachable(kubectl: list[str], name: str) -> None:
    """Wait until exec works: the node's tunnel opens a moment after the node is Ready."""
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            return _run(kubectl, "exec", name, "--", "/bin/busybox", "true")
        except DeadlineError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _fetch(path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", LOCAL, timeout=DEADLINE)
    connection.request("GET", path)
    answer = connection.getresponse()
    size = 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    connection.close()
    return size if path == "/small" else _enough(size, MEGABYTES, "port-forward")


def _requests() -> float:
    """Small requests a second, each on a connection of its own."""
    left = iter(range(REQUESTS))

    def work() -> None:
        for _ in left:
            _fetch("/small")

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    return REQUESTS / (time.monotonic() - began)


def _idle_streams(world: World) -> float:
    """KiB that our three processes hold together for each connection that says nothing."""
    time.sleep(SETTLE)
    before = _rss(world)
    with contextlib.ExitStack() as held:
        for _ in range(IDLE):
            held.enter_context(socket.create_connection(("127.0.0.1", LOCAL), DEADLINE))
        time.sleep(SETTLE)
        return (_rss(world) - before) * 1024 / IDLE


def _rss(world: World) -> float:
    return sum(memory(world.pid(name)).rss for name in OURS)


def _timed(do: Callable[[], None]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def _run(kubectl: list[str], *arguments: str) -> None:
    done = subprocess.run([*kubectl, *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False)
    if done.returncode:
        raise DeadlineError(f"kubectl {' '.join(arguments)} failed: {done.stderr}")
