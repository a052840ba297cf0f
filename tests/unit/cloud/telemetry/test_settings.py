from __future__ import annotations

import asyncio

import pytest

from octoedge.api.config.load import parse_cloudcore
from octoedge.cloud.cloudcore import CloudCore
from octoedge.errors import ConfigError
from octoedge.protocol import handshake
from octoedge.testing.clock import VirtualClock
from octoedge.testing.kube import MemoryApi
from octoedge.transport.connection import Peer


@pytest.mark.parametrize(
    ("export", "says"),
    [
        ("{name: a, kind: kafka, url: 'tcp://x'}", "influxdb, prometheus, http, mqtt"),
        ("{name: a, kind: http, url: 'tcp://x'}", "http:// https://"),
        ("{kind: http, url: 'http://x'}", r"exports\[0\].name"),
        ("{name: a, kind: http, url: 'http://x'}, {name: a, kind: http, url: 'http://y'}", r"exports\[1\].name"),
    ],
)
def test_an_export_that_cannot_be_is_refused_by_its_key(export: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_cloudcore(f"octoedge: {{telemetry: {{exports: [{export}]}}}}".encode(), "cloudcore.yaml")


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ("{}", True),
        ("octoedge: {telemetry: {exports: [{name: a, kind: http, url: 'http://x'}]}}", True),
        ("octoedge: {telemetry: {enable: false}}", False),
        ("modules: {deviceController: {enable: false}}", False),
    ],
)
def test_only_a_cloud_that_stores_telemetry_says_that_it_does(text: str, agrees: bool) -> None:
    async def main() -> None:
        core = CloudCore(parse_cloudcore(text.encode(), "test"), MemoryApi().client(), VirtualClock(), listen=False)
        headers = {handshake.STORE: "s", handshake.FEATURES: handshake.speaks(handshake.KNOWN)}
        said = core.hub.answer_headers(Peer("edge-1", headers=headers))
        assert (handshake.TELEMETRY in said[handshake.FEATURES].split()) is agrees

    asyncio.run(main())
