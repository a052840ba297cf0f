"""Which form a client gets: exactly one that it asked for."""

from __future__ import annotations

import pytest

from octoedge.apiserver.serving.negotiation import DISCOVERIES, PLAIN, TABLES, negotiate
from octoedge.errors import ApiError

KUBECTL = (
    "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"
)
OLD = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
NEW = f"application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,{OLD}"


def test_what_kubectl_asks_for() -> None:
    assert negotiate(KUBECTL, TABLES) == TABLES[0]
    assert negotiate(KUBECTL.split(",", 1)[1], TABLES) == TABLES[1]
    assert negotiate(KUBECTL) == PLAIN
    assert negotiate(NEW, DISCOVERIES) == DISCOVERIES[0]
    assert negotiate(OLD, DISCOVERIES) == DISCOVERIES[1]


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "application/*", "text/html, */*;q=0.8", "application/vnd.kubernetes.protobuf,application/json"],
)
def test_plain_json(accept: str) -> None:
    assert negotiate(accept, TABLES) == PLAIN


@pytest.mark.parametrize(
    "accept", ["text/html", "application/vnd.kubernetes.protobuf", "application/json;as=Table;v=v9;g=meta.k8s.io"]
)
def test_what_we_do_not_have(accept: str) -> None:
    with pytest.raises(ApiError) as caught:
        negotiate(accept, TABLES)
    assert caught.value.code == 406
