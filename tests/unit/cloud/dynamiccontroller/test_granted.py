"""What a node may read without a role, and what is next to it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.cloud.dynamiccontroller.granted import is_granted
from octoedge.protocol import application as a

SLICES = "/discovery.k8s.io/v1/endpointslices/null/null"
HEADLESS = {"labelSelector": "service.kubernetes.io/headless"}


def asked(verb: str, key: str, option: Any, account: str = "", subresource: str = "") -> a.Application:
    return a.make("edge-1", key, verb, option=msgspec.json.encode(option), account=account, subresource=subresource)


@pytest.mark.parametrize("verb", ["list", "follow"])
@pytest.mark.parametrize("key", [SLICES, SLICES.replace("null", "shop", 1)])
def test_slices_of_headless_services_are_for_every_node(verb: str, key: str) -> None:
    assert is_granted(asked(verb, key, {**HEADLESS, "limit": 500, "timeoutSeconds": "10"}))


@pytest.mark.parametrize(
    "one",
    [
        asked("list", SLICES, {}),
        asked("list", SLICES, {"labelSelector": "!service.kubernetes.io/headless"}),
        asked("list", SLICES, {"labelSelector": "kubernetes.io/service-name=web"}),
        asked("list", SLICES, {"labelSelector": "service.kubernetes.io/headless,a!=b"}),
        asked("list", SLICES, {"labelSelector": 1}),
        asked("list", SLICES, HEADLESS, account="default/reader"),
        asked("list", SLICES, HEADLESS, subresource="status"),
        asked("get", SLICES.replace("null/null", "shop/web-1"), HEADLESS),
        asked("list", SLICES.replace("null/null", "null/web-1"), HEADLESS),
        asked("list", SLICES.replace("discovery.k8s.io", "core"), HEADLESS),
        asked("list", "/core/v1/secrets/null/null", HEADLESS),
        asked("watch", SLICES, HEADLESS),
        asked("delete", SLICES, HEADLESS),
        asked("list", "nonsense", HEADLESS),
    ],
)
def test_nothing_else_is(one: a.Application) -> None:
    assert not is_granted(one)
