"""Runs what probes and lifecycle hooks ask for: a command in the container, an HTTP request, a TCP connection,
grpc.health.v1.

One function, one answer: healthy or not, and a text that says why. Every try has a deadline and reads a bounded answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import ClassVar

import msgspec

from octoedge.api.core import (
    Container,
    ExecAction,
    GrpcAction,
    HttpGetAction,
    HttpHeader,
    IntOrString,
    SleepAction,
    TcpSocketAction,
)
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.errors import CriError, DeadlineError, ProtocolError, TransportError

_MOST_BODY = 10 * 1024
_MOST_HEAD = 64 * 1024
_SERVING = 1


class Verdict(msgspec.Struct, frozen=True):
    """What came of a try."""

    healthy: bool
    text: str = ""


class Target(msgspec.Struct, frozen=True):
    """What a handler is run against."""

    runtime: ContainerRuntime
    container_id: str
    container: Container
    ip: str


Action = ExecAction | HttpGetAction | TcpSocketAction | GrpcAction | SleepAction


async def run(action: Action, target: Target, timeout: float, agent: str = "kube-probe/1.32") -> Verdict:
    """Run one action within `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout + 1.0):
            if isinstance(action, ExecAction):
                return await _exec(action, target, timeout)
            if isinstance(action, HttpGetAction):
                async with asyncio.timeout(timeout):
                    return await _http(action, target, agent)
            if isinstance(action, TcpSocketAction):
                async with asyncio.timeout(timeout):
                    return await _tcp(action, target)
            if isinstance(action, GrpcAction):
                return await _grpc(action, target, timeout)
            await asyncio.sleep(action.seconds)
            return Verdict(True)
    except (DeadlineError, TimeoutError):
        return Verdict(False, f"no answer within {timeout:g}s")
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        return Verdict(False, str(error) or type(error).__name__)


async def _exec(action: ExecAction, target: Target, timeout: float) -> Verdict:
    try:
        answer = await target.runtime.exec_sync(target.container_id, tuple(action.command), timeout)
    except CriError as error:
        return Verdict(False, error.message)
    output = (answer.stdout + answer.stderr)[:_MOST_BODY].decode("utf-8", "replace")
    return Verdict(answer.exit_code == 0, output)


async def _tcp(action: TcpSocketAction, target: Target) -> Verdict:
    _, writer = await asyncio.open_connection(action.host or target.ip, port_number(action.port, target.container))
    await _close(writer)
    return Verdict(True)


async def _grpc(action: GrpcAction, target: Target, timeout: float) -> Verdict:
    """Healthy is only SERVING, as for the kubelet; always in clear, always at the pod's address."""
    # Few pods have such a probe: the messages' codec and the client are loaded for those.
    from octoedge.protocol.protobuf import Codec, Message
    from octoedge.transport.grpc import Channel, GrpcError

    class Check(Message, frozen=True):
        service: str = ""
        WIRE: ClassVar[str] = "service:1:s"

    class Answer(Message, frozen=True):
        status: int = 0
        WIRE: ClassVar[str] = "status:1:i"

    codec, channel = Codec({}), Channel(target.ip, _checked_port(action.port))
    try:
        reply = await channel.unary("/grpc.health.v1.Health/Check", codec.encode(Check(action.service), Check), timeout)
        status = codec.decode(reply, Answer).status
    except GrpcError as error:
        return Verdict(False, f"error: health rpc probe failed: {error}")
    except (TransportError, ProtocolError) as error:
        return Verdict(False, f"failed to connect for the gRPC health check: {error}")
    finally:
        channel.close()
    return Verdict(status == _SERVING, f"service unhealthy (responded with status {status})")


async def _http(action: HttpGetAction, target: Target, agent: str) -> Verdict:
    host, port = action.host or target.ip, port_number(action.port, target.container)
    tls = action.scheme.upper() == "HTTPS"
    reader, writer = await asyncio.open_connection(host, port, ssl=_trusting() if tls else None, limit=_MOST_HEAD)
    try:
        writer.write(_request(action, host, port, agent))
        await writer.drain()
        status_line = await reader.readline()
        words = status_line.split(None, 2)
        if len(words) < 2 or not words[1].isdigit():
            return Verdict(False, "the answer is not HTTP")
        code = int(words[1])
        return Verdict(200 <= code < 400, f"HTTP probe failed with statuscode: {code}" if code >= 400 else "")
    finally:
        await _close(writer)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _request(action: HttpGetAction, host: str, port: int, agent: str) -> bytes:
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    shown = f"[{host}]" if ":" in host else host
    headers: list[tuple[str, str]] = [("Host", f"{shown}:{port}"), ("User-Agent", agent), ("Accept", "*/*")]
    named = {header.name.lower() for header in action.http_headers}
    headers = [header for header in headers if header[0].lower() not in named]
    headers += [_checked(header) for header in action.http_headers]
    lines = [f"GET {_one_line(path)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers), "Connection: close"]
    return "\r\n".join([*lines, "", ""]).encode()


def _checked(header: HttpHeader) -> tuple[str, str]:
    return _one_line(header.name), _one_line(header.value)


def _one_line(text: str) -> str:
    if any(sign in text for sign in "\r\n\0"):
        raise ValueError(f"{text!r} cannot stand in an HTTP request")
    return text


def _trusting() -> ssl.SSLContext:
    """Probes do not check certificates, as in Kubernetes: the pod is known by its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def port_number(port: IntOrString, container: Container) -> int:
    """A port by number or by the name that the container gives it; `ValueError` when it has no such port."""
    if isinstance(port, int):
        return _checked_port(port)
    if port.isdecimal():
        return _checked_port(int(port))
    for known in container.ports:
        if known.name == port:
            return _checked_port(known.container_port)
    raise ValueError(f"the container has no port called {port!r}")


def _checked_port(port: int) -> int:
    if not 0 < port < 65536:
        raise ValueError(f"port {port} is not between 1 and 65535")
    return port
