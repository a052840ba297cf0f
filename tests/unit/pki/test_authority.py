"""The authority in Secrets: made once, adopted by everybody, never overwritten."""

from __future__ import annotations

import asyncio
import base64
import logging
from pathlib import Path
from typing import Any

import pytest

from octoedge.errors import CertificateError
from octoedge.pki import token, x509
from octoedge.pki.authority import Authority, Files, TokenKeeper, load
from octoedge.testing.clock import SettableClock, VirtualClock, run
from octoedge.testing.kube import MemoryApi, MemoryClient

SECRETS = "/api/v1/namespaces/kubeedge/secrets"
NOWHERE = Path("/nonexistent")
NO_FILES = Files(NOWHERE, NOWHERE, NOWHERE, NOWHERE)


async def _load(client: MemoryClient, *addresses: str, files: Files = NO_FILES) -> Authority:
    return await load(client, files, addresses or ("192.0.2.1",), VirtualClock())


def _data(api: MemoryApi, name: str) -> dict[str, bytes]:
    secret: dict[str, Any] = api.objects[SECRETS, name]
    assert secret["type"] == "Opaque"
    return {key: base64.b64decode(value) for key, value in secret["data"].items()}


def test_what_is_made_lies_where_kubeedge_looks_for_it() -> None:
    async def main() -> None:
        api = MemoryApi()
        made = await _load(api.client())
        assert _data(api, "casecret") == {"cadata": made.ca.certificate, "cakeydata": made.ca.key}
        assert _data(api, "cloudcoresecret") == {
            "cloudcoredata": made.server.certificate,
            "cloudcorekeydata": made.server.key,
        }
        x509.check_issued_by(made.ca, made.server.certificate, "the server certificate")
        assert ("/api/v1/namespaces", "kubeedge") in api.objects

    run(main())


def test_a_restart_and_another_cloudcore_adopt_it() -> None:
    async def main() -> None:
        api = MemoryApi()
        first = await _load(api.client())
        assert await _load(api.client()) == first

    run(main())


def test_cloudcores_that_start_at_once_agree() -> None:
    async def main() -> None:
        api = MemoryApi()
        loaded = await asyncio.gather(*(_load(api.client()) for _ in range(5)))
        assert len({authority.ca.certificate for authority in loaded}) == 1
        assert len({authority.server.certificate for authority in loaded}) == 1

    run(main())


@pytest.mark.parametrize("data", [{}, {"cadata": "AAAA", "cakeydata": "AAAA"}, {"cadata": "!", "cakeydata": "!"}])
def test_a_secret_that_cannot_be_read_is_never_overwritten(data: dict[str, str]) -> None:
    async def main() -> None:
        api = MemoryApi()
        await api.create(SECRETS, {"metadata": {"name": "casecret"}, "type": "Opaque", "data": data})
        before = dict(api.objects[SECRETS, "casecret"])
        with pytest.raises(CertificateError, match="kubeedge/casecret"):
            await _load(api.client())
        assert api.objects[SECRETS, "casecret"] == before

    run(main())


def test_a_key_that_does_not_fit_is_noticed() -> None:
    async def main() -> None:
        api = MemoryApi()
        await _load(api.client())
        other = x509.new_authority(VirtualClock().now())
        api.objects[SECRETS, "casecret"]["data"]["cakeydata"] = base64.b64encode(other.key).decode()
        with pytest.raises(CertificateError, match="does not belong"):
            await _load(api.client())

    run(main())


def test_a_new_address_makes_a_new_server_certificate_of_the_same_ca() -> None:
    async def main() -> None:
        api = MemoryApi()
        before = await _load(api.client(), "192.0.2.1")
        after = await _load(api.client(), "192.0.2.1", "cloud.example")
        assert after.ca == before.ca
        assert x509.read_der(after.server.certificate, "x").addresses == {"192.0.2.1", "cloud.example"}
        assert _data(api, "cloudcoresecret")["cloudcoredata"] == after.server.certificate
        assert await _load(api.client(), "192.0.2.1") == after

    run(main())


def test_an_administrators_files_come_first(tmp_path: Path) -> None:
    async def main() -> None:
        ca = x509.new_authority(VirtualClock().now())
        files = Files(tmp_path / "ca.crt", tmp_path / "ca.key", NOWHERE, NOWHERE)
        files.ca.write_bytes(x509.certificate_to_pem(ca.certificate))
        files.ca_key.write_bytes(x509.key_to_pem(ca.key))
        api = MemoryApi()
        loaded = await _load(api.client(), files=files)
        assert loaded.ca == ca
        assert (SECRETS, "casecret") not in api.objects
        x509.check_issued_by(ca, loaded.server.certificate, "the server certificate")
        files.ca_key.write_text("garbage")
        with pytest.raises(CertificateError, match=r"ca\.crt with .*ca\.key cannot be read"):
            await _load(api.client(), files=files)

    run(main())


def test_tokens_are_renewed_and_the_last_two_are_good() -> None:
    async def main() -> None:
        api, clock = MemoryApi(), VirtualClock()
        authority = await load(api.client(), NO_FILES, ["192.0.2.1"], clock)
        keeper = TokenKeeper(api.client(), lambda: authority, clock, hours=12)
        ready = asyncio.Event()
        task = asyncio.create_task(keeper.run(ready.set))
        await ready.wait()
        first = _data(api, "tokensecret")["tokendata"].decode()
        await asyncio.sleep(12.5 * 3600)
        second = _data(api, "tokensecret")["tokendata"].decode()
        assert first != second
        for minted in (first, second):
            token.check_ca(minted, authority.ca.certificate)
            authority.verify_token(token.split(minted)[1], now=clock.now())
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_an_api_that_refuses_the_token_is_told_of_once_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        api, clock = MemoryApi(), VirtualClock()
        authority = await load(api.client(), NO_FILES, ["192.0.2.1"], clock)
        keeper = TokenKeeper(api.client(), lambda: authority, clock, hours=12)
        ready = asyncio.Event()
        api.full = True
        async with asyncio.TaskGroup() as group:
            task = group.create_task(keeper.run(ready.set))
            await asyncio.sleep(600)
            assert not task.done()
            assert not ready.is_set()
            api.full = False
            async with asyncio.timeout(80):
                await ready.wait()
            task.cancel()
        token.check_ca(_data(api, "tokensecret")["tokendata"].decode(), authority.ca.certificate)
        assert len(api.requests) < 100

    caplog.set_level(logging.INFO, "octoedge.pki.authority")
    run(main())
    said = [record for record in caplog.records if "kubeedge/tokensecret" in record.getMessage()]
    assert [record.levelname for record in said] == ["WARNING", "INFO"]
    assert not any(record.exc_info for record in said)


def test_a_ca_file_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    async def main() -> None:
        api = MemoryApi()
        ca = x509.new_authority(VirtualClock().now())
        certificate, key = tmp_path / "ca.crt", tmp_path / "ca.key"
        certificate.write_bytes(x509.certificate_to_pem(ca.certificate))
        files = Files(certificate, key, NOWHERE, NOWHERE)
        kept = (await _load(api.client(), files=files)).ca
        assert kept != ca, "an EdgeCore of this machine writes its CA there, and has no key"
        key.mkdir()
        with pytest.raises(CertificateError, match=r"ca\.key cannot be read: Is a directory"):
            await _load(api.client(), files=files)
        key.rmdir()
        key.write_bytes(x509.key_to_pem(ca.key))
        assert (await _load(api.client(), files=files)).ca == ca
        certificate.unlink()
        with pytest.raises(CertificateError, match=r"ca\.key is there and .*ca\.crt is not"):
            await _load(api.client(), files=files)

    run(main())


def test_a_ca_that_ends_soon_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        api, clock = MemoryApi(), VirtualClock()
        authority = await load(api.client(), NO_FILES, ["192.0.2.1"], clock)
        for years, warned in ((90, False), (99.7, True)):
            keeper = TokenKeeper(
                api.client(), lambda: authority, SettableClock(clock.now() + years * 365 * 86400), hours=12
            )
            written = asyncio.Event()
            task = asyncio.ensure_future(keeper.run(written.set))
            await written.wait()
            task.cancel()
            assert ("the CA certificate of this cloud ends in" in caplog.text) is warned

    run(main())
