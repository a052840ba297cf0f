"""The API client against a scripted server on a real socket: paging, watching, errors, limits, names, credentials."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ApiError, ConfigError, ConnectError
from octoedge.kube.access import Access, kubeconfig
from octoedge.kube.client import STRATEGIC, Client, path
from octoedge.kube.kinds import CLUSTEROBJECTSYNCS, LEASES, NODES, PODS
from octoedge.testing import tls as certificates
from octoedge.transport.tls import common_name

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
NOT_FOUND = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "code": 404,
    "reason": "NotFound",
    "message": 'pods "x" not found',
    "details": {"name": "x", "kind": "pods"},
}


@asynccontextmanager
async def _server(handler: Handler) -> AsyncIterator[Client]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with Client(Access(f"http://127.0.0.1:{runner.addresses[0][1]}", token="secret")) as client:
            yield client
    finally:
        await runner.cleanup()


def _json(body: Any, status: int = 200) -> web.Response:
    return web.json_response(body, status=status)


def test_a_request_says_who_asks_and_what(tmp_path: Path) -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return _json(
            {
                "line": f"{request.method} {request.path_qs}",
                "type": request.headers["Content-Type"],
                "who": request.headers["Authorization"],
                "body": (await request.read()).decode(),
            }
        )

    async def main() -> None:
        async with _server(handler) as client:
            said = json.loads(await client.patch(PODS, "ns", "web", b"{}", how=STRATEGIC, sub="status"))
        assert said == {
            "line": "PATCH /api/v1/namespaces/ns/pods/web/status",
            "type": "application/strategic-merge-patch+json",
            "who": "Bearer secret",
            "body": "{}",
        }

    asyncio.run(main())


def test_a_list_is_all_pages_or_none() -> None:
    failing = False

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        page = int(request.query.get("continue", "0"))
        if failing and page == 2:
            return _json({}, status=500)
        more = {"continue": str(page + 1)} if page < 2 else {}
        return _json({"metadata": {"resourceVersion": "9", **more}, "items": [{"n": page}]})

    async def main() -> None:
        nonlocal failing
        async with _server(handler) as client:
            listing = await client.list(PODS)
            assert (listing.version, [json.loads(item)["n"] for item in listing.items]) == ("9", [0, 1, 2])
            failing = True
            with pytest.raises(ApiError):
                await client.list(PODS)

    asyncio.run(main())


def test_a_watch_gives_events_however_they_are_cut() -> None:
    lines = b"".join(
        json.dumps({"type": kind, "object": {"metadata": {"name": "x" * 3000}}}).encode() + b"\n"
        for kind in ("ADDED", "MODIFIED", "BOOKMARK")
    )

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        assert request.query["resourceVersion"] == "7"
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(lines), 1000):
            await response.write(lines[start : start + 1000])
        return response

    async def main() -> None:
        async with _server(handler) as client:
            types = [event.type async for event in client.watch(PODS, version="7")]
        assert types == ["ADDED", "MODIFIED", "BOOKMARK"]

    asyncio.run(main())


def test_an_error_in_a_watch_is_raised() -> None:
    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        status = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
        return web.Response(body=json.dumps({"type": "ERROR", "object": status}).encode() + b"\n")

    async def main() -> None:
        async with _server(handler) as client:
            with pytest.raises(ApiError) as caught:
                [event async for event in client.watch(PODS, version="1")]
            assert caught.value.code == 410

    asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "code", "reason"),
    [
        (lambda: _json(NOT_FOUND, 404), 404, "NotFound"),
        (lambda: web.Response(status=503, text="upstream away"), 503, "ServiceUnavailable"),
        (lambda: web.Response(status=403, text="<html>no</html>"), 403, "Forbidden"),
        (lambda: web.Response(status=302, headers={"Location": "http://elsewhere/"}), 302, "InternalError"),
    ],
)
def test_what_the_server_refuses_is_an_api_error(answer: Callable[[], web.Response], code: int, reason: str) -> None:
    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        return answer()

    async def main() -> None:
        async with _server(handler) as client:
            with pytest.raises(ApiError) as caught:
                await client.get(PODS, "ns", "x")
            assert (caught.value.code, caught.value.reason) == (code, reason)

    asyncio.run(main())


def test_a_list_that_is_no_list_is_an_error() -> None:
    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text='{"items": 3}')

    async def main() -> None:
        async with _server(handler) as client:
            with pytest.raises(ApiError, match="the list of pods cannot be read"):
                await client.list(PODS)

    asyncio.run(main())


def test_nobody_there_is_a_connect_error() -> None:
    async def main() -> None:
        async with Client(Access("http://127.0.0.1:1")) as client:
            with pytest.raises(ConnectError, match=r"GET /api/v1/nodes/n: .* cannot be reached: Connection refused"):
                await client.get(NODES, "", "n")

    asyncio.run(main())


def test_an_answer_that_breaks_off_is_a_connect_error() -> None:
    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"{")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def main() -> None:
        async with _server(handler) as client:
            with pytest.raises(ConnectError):
                await client.get(NODES, "", "n")

    asyncio.run(main())


def test_paths() -> None:
    assert path(PODS) == "/api/v1/pods"
    assert path(PODS, "ns", "web", "status") == "/api/v1/namespaces/ns/pods/web/status"
    assert path(LEASES, "ns") == "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
    assert path(CLUSTEROBJECTSYNCS, "", "n.u") == "/apis/reliablesyncs.kubeedge.io/v1alpha1/clusterobjectsyncs/n.u"
    with pytest.raises(ApiError, match="needs a namespace"):
        path(PODS, "", "web")


@given(st.text(min_size=1, max_size=300))
def test_no_name_leads_to_another_path(name: str) -> None:
    try:
        made = path(NODES, "", name)
    except ApiError:
        return
    rest = made.removeprefix("/api/v1/nodes/")
    assert "/" not in rest
    assert "?" not in rest
    assert "#" not in rest
    assert rest not in (".", "..")


def _kubeconfig(folder: Path, *, user: dict[str, Any], **cluster: Any) -> Path:
    file = folder / "config"
    file.write_text(
        yaml.safe_dump(
            {
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                "clusters": [{"name": "k", "cluster": {"server": "https://192.0.2.1:6443/", **cluster}}],
                "users": [{"name": "u", "user": user}],
            }
        )
    )
    return file


def test_certificates_come_inline_or_from_files(tmp_path: Path) -> None:
    world = certificates.make(tmp_path)
    inline = {
        "client-certificate-data": base64.b64encode(world.certificate_file.read_bytes()).decode(),
        "client-key-data": base64.b64encode(world.key_file.read_bytes()).decode(),
    }
    files = {"client-certificate": world.certificate_file.name, "client-key": str(world.key_file)}
    for user in (inline, files):
        access = kubeconfig(_kubeconfig(tmp_path, user=user, **{"certificate-authority": str(world.ca_file)}))
        assert access.server == "https://192.0.2.1:6443"
        assert access.tls is not None
        assert access.tls.cert_store_stats()["x509_ca"] == 1


def test_certificates_that_were_renewed_on_disk_are_taken_up_for_new_connections(tmp_path: Path) -> None:
    one, other = certificates.make(tmp_path / "one", "edge-1"), certificates.make(tmp_path / "other", "edge-2")
    file, key = tmp_path / "node.crt", tmp_path / "node.key"

    def put(world: certificates.TlsWorld) -> None:
        file.write_bytes(world.certificate_file.read_bytes())
        key.write_bytes(world.key_file.read_bytes())

    async def shown(tls: ssl.SSLContext, listening: ssl.SSLContext) -> str:
        names: list[str] = []

        async def met(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            names.append(common_name(writer.get_extra_info("peercert")))
            writer.close()

        server = await asyncio.start_server(met, "127.0.0.1", 0, ssl=listening)
        async with server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
            await reader.read()
            writer.close()
        return names[0]

    put(one)
    user = {"client-certificate": file.name, "client-key": key.name}
    access = kubeconfig(_kubeconfig(tmp_path, user=user, **{"certificate-authority": str(one.ca_file)}))
    assert access.tls is not None
    assert access.look is not None
    first = asyncio.run(shown(access.tls, one.server()))
    assert not access.look()
    key.write_bytes(b"half of a k")
    with pytest.raises(ConfigError, match="cannot be used"):
        access.look()
    assert asyncio.run(shown(access.tls, one.server())) == first
    put(other)
    _kubeconfig(tmp_path, user=user, **{"certificate-authority": str(other.ca_file)})
    assert access.look()
    assert asyncio.run(shown(access.tls, other.server())) != first


def test_a_watch_that_is_left_is_cut_off_whatever_the_server_does(tmp_path: Path) -> None:
    """TLS waits for the other side's goodbye, and this one never says it."""
    world, over = certificates.make(tmp_path), threading.Event()

    def serve(listener: socket.socket) -> None:
        with world.server(want_client=False).wrap_socket(listener.accept()[0], server_side=True) as held:
            held.recv(10_000)
            event = b'{"type":"ADDED","object":{}}\n'
            held.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (len(event), event))
            over.wait(30)

    async def main(port: int) -> None:
        tls = ssl.create_default_context(cafile=world.ca_file)
        async with Client(Access(f"https://127.0.0.1:{port}", tls=tls)) as client:
            watch = client.watch(PODS, version="1")
            assert (await anext(watch)).type == "ADDED"
            await watch.aclose()  # type: ignore[attr-defined]

    gc.collect()
    with socket.create_server(("127.0.0.1", 0)) as listener, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            asyncio.run(main(listener.getsockname()[1]))
            gc.collect()
        finally:
            over.set()
            thread.join(30)
    assert [str(one.message) for one in said] == []


def test_a_client_looks_for_renewed_certificates_now_and_then_and_goes_on_with_the_old_ones() -> None:
    looked: list[int] = []

    def look() -> bool:
        looked.append(1)
        raise ConfigError("half of a file")

    async def handler(_request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text="here")

    async def main() -> None:
        async with _server(handler) as client, Client(Access(client.access.server, look=look)) as own:
            assert [await own.request("GET", "/") for _ in range(3)] == [b"here"] * 3

    asyncio.run(main())
    assert looked == [1]


def test_a_token_file_is_read_when_it_is_needed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    access = kubeconfig(_kubeconfig(tmp_path, user={"tokenFile": "token"}))
    assert access.token_file == tmp_path / "token"

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(text=request.headers["Authorization"])

    async def main() -> None:
        async with _server(handler) as client:
            server = client.access.server
            async with Client(Access(server, token_file=access.token_file)) as own:
                assert await own.request("GET", "/") == b"Bearer from-file"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ({"exec": {"command": "aws"}}, "logs in by exec, which is not supported"),
        ({"client-certificate": "missing", "client-key": "missing"}, "cannot read client-certificate missing"),
        ({"client-certificate-data": "!", "client-key-data": "!"}, "client-certificate-data is not base64"),
        ({"client-certificate-data": "AAAA", "client-key-data": "AAAA"}, "cannot be used"),
    ],
)
def test_a_kubeconfig_that_will_not_do_is_said_so(tmp_path: Path, user: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        kubeconfig(_kubeconfig(tmp_path, user=user))


@pytest.mark.parametrize("content", ["", "[]", "a: [", "current-context: nowhere", "\x00"])
def test_what_is_no_kubeconfig_is_said_so(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    with pytest.raises(ConfigError, match="the kubeconfig"):
        kubeconfig(file)
