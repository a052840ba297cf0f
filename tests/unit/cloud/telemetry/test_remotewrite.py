from __future__ import annotations

import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from cramjam import snappy
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.telemetry import remotewrite
from octoedge.cloud.telemetry.formats import Value
from octoedge.cloud.telemetry.remotewrite import CODEC, NO_NUMBER, SAME_TIME, WriteRequest, written

DEVICE = "default/th"


def request(body: bytes) -> WriteRequest:
    return CODEC.decode(bytes(snappy.decompress_raw(body)), WriteRequest)


def chunk(number: int, data: bytes) -> bytes:
    """A length-delimited protobuf field, written down by hand."""
    assert len(data) < 128
    return bytes((number << 3 | 2, len(data))) + data


def test_the_bytes_are_those_of_prometheus_types() -> None:
    """prometheus.WriteRequest{timeseries = 1}, TimeSeries{labels = 1, samples = 2}, Label{name = 1, value = 2},
    Sample{double value = 1, int64 timestamp = 2}."""
    pairs = [(b"__name__", b"octoedge_t"), (b"device", b"th"), (b"namespace", b"default"), (b"property", b"t")]
    labels = b"".join(chunk(1, chunk(1, name) + chunk(2, text)) for name, text in pairs)
    sample = chunk(2, b"\x09" + struct.pack("<d", 21.5) + b"\x10\x05")
    body = written([Value(DEVICE, "t", 5, "21.5")]).body
    assert bytes(snappy.decompress_raw(body)) == chunk(1, labels + sample)


def test_numbers_are_samples_and_what_stays_out_is_counted() -> None:
    texts = ["0", "true", "false", "on", "nan", "1e999", "", "-2.5e1"]
    made = written([Value(DEVICE, "t", at, text) for at, text in enumerate(texts)])
    (series,) = request(made.body).timeseries
    assert [(sample.timestamp, sample.value) for sample in series.samples] == [(0, 0.0), (1, 1.0), (2, 0.0), (7, -25.0)]
    assert (made.samples, made.left_out) == (4, {NO_NUMBER: 4})


def test_samples_are_in_the_order_of_their_times_the_last_word_of_each() -> None:
    made = written([Value(DEVICE, "t", at, text) for at, text in ((9, "1"), (3, "2"), (9, "3"), (5, "4"))])
    (series,) = request(made.body).timeseries
    assert [(sample.timestamp, sample.value) for sample in series.samples] == [(3, 2.0), (5, 4.0), (9, 3.0)]
    assert made.left_out == {SAME_TIME: 1}


def test_nothing_but_texts_is_no_request() -> None:
    made = written([Value(DEVICE, "mode", 1, "auto")])
    assert (made.body, made.samples, made.left_out) == (b"", 0, {NO_NUMBER: 1})


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_are_legal_and_each_property_has_its_own_series(first: str, second: str) -> None:
    for name in (first, second):
        assert re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", remotewrite.metric(name))
        names = [label.name for label in remotewrite.labels(DEVICE, name)]
        assert names == sorted(names)
    assert (remotewrite.labels(DEVICE, first) == remotewrite.labels(DEVICE, second)) is (first == second)


def test_without_snappy_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "cramjam.py").write_text("raise ImportError('No module named cramjam')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from octoedge.cloud.telemetry import formats, remotewrite\n"
        "from octoedge.errors import ConfigError\n"
        "try: remotewrite.written([formats.Value('default/th', 't', 1, '1')])\n"
        "except ConfigError as error: print(error)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert "pip install 'octoedge[prometheus]'" in said.stdout


@pytest.mark.parametrize("texts", [["1"], ["1"] * 5000])
def test_a_full_request_is_small(texts: list[str]) -> None:
    body = written([Value(DEVICE, "t", 1_790_000_000_000 + at * 1000, text) for at, text in enumerate(texts)]).body
    assert len(body) < 100 + 20 * len(texts)
