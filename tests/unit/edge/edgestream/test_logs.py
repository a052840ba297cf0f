"""What `kubectl logs` asks, read as the kubelet reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edgestream.logs import log_request
from octoedge.edge.ports import LogRequest
from octoedge.errors import ApiError
from octoedge.protocol.tunnel import Connector

PATH = "/containerLogs/shop/cart-0/app"


def read(query: str, path: str = PATH) -> LogRequest:
    return log_request(Connector(path, query))


def test_every_option_is_read() -> None:
    query = "follow=true&previous=true&timestamps=1&tailLines=20&limitBytes=500&sinceSeconds=60&stream=All&other=x"
    assert read(query) == LogRequest(
        "shop", "cart-0", "app", follow=True, previous=True, timestamps=True, tail_lines=20, limit_bytes=500,
        since_seconds=60,
    )  # fmt: skip
    assert read("sinceTime=2026-01-02T03%3A04%3A05Z").since_time == "2026-01-02T03:04:05Z"
    assert read("sinceTime=2026-01-02T03%3A04%3A05%2B02%3A00").since_time == "2026-01-02T03:04:05+02:00"
    assert read("") == LogRequest("shop", "cart-0", "app")


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("TRUE", True), ("1", True), ("", True), ("false", False), ("0", False)]
)
def test_a_flag_is_read_as_kubernetes_converts_it(text: str, value: bool) -> None:
    assert read(f"follow={text}").follow is value


def test_the_old_name_of_tail_lines_counts_and_all_means_all() -> None:
    assert read("tail=7").tail_lines == 7
    assert read("tail=all").tail_lines is None
    assert read("tail=all&tailLines=3").tail_lines == 3


def test_no_lines_at_all_may_be_asked_for() -> None:
    assert read("tailLines=0&follow=true").tail_lines == 0


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/containerLogs/shop/cart-0", '{"message": "Missing container name."}'),
        ("/containerLogs/shop//app", '{"message": "Missing podID."}'),
        ("/containerLogs", '{"message": "Missing podID."}'),
        ("/containerLogs//cart/app", '{"message": "Missing podNamespace."}'),
    ],
)
def test_a_path_with_a_missing_part_is_named(path: str, text: str) -> None:
    with pytest.raises(ApiError) as caught:
        read("", path)
    assert (caught.value.code, caught.value.message) == (400, text)


def test_a_longer_path_is_not_found() -> None:
    with pytest.raises(ApiError) as caught:
        read("", PATH + "/more")
    assert caught.value.code == 404


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("tailLines=x", 400), ("tailLines=1.5", 400), ("tailLines=9223372036854775808", 400), ("tailLines=٣", 400),
        ("tailLines=-1", 422), ("limitBytes=0", 422), ("sinceSeconds=0", 422), ("tail=-2", 422),
        ("sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z", 422), ("sinceTime=yesterday", 400), ("a=%ff", 400),
        ("&".join(f"f{n}=1" for n in range(100)), 400),
    ],
)  # fmt: skip
def test_a_wrong_option_is_refused(query: str, code: int) -> None:
    with pytest.raises(ApiError) as caught:
        read(query)
    assert caught.value.code == code


@given(st.text(max_size=60), st.text(max_size=40))
def test_anything_is_a_request_or_an_api_error(query: str, path: str) -> None:
    try:
        request = read(query, "/containerLogs/" + path.encode(errors="ignore").decode())
    except ApiError:
        return
    assert request.namespace
    assert request.pod
    assert request.container
