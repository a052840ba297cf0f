"""Registers: what visitors name, what words mean, which requests read many."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ConfigError, ValueRefused
from octoedge.mappers.modbus.registers import GAP, MAX_WORDS, Register, Table, blocks, register

HOLDING = {"register": "HoldingRegister", "offset": 2}


def _register(**visitor: Any) -> Register:
    return register({**HOLDING, **visitor}, "", "visitors")


def test_a_visitor_as_kubeedge_writes_it() -> None:
    assert _register(limit=1, scale=0.1, dataType="float") == Register(Table.HOLDING, 2, 1, "int16", 0.1)
    assert _register(limit=2, dataType="INT", isRegisterSwap=True).kind == "uint32"
    assert register({"register": "CoilRegister", "offset": 3.0, "limit": 1.0}, "BOOLEAN", "") == Register(
        Table.COILS, 3, 1, "boolean"
    )


@pytest.mark.parametrize(
    ("visitor", "field"),
    [
        ({"register": "Holding Register"}, "register"),
        ({"offset": 65536}, "offset"),
        ({"offset": "ten"}, "offset"),
        ({"offset": 65535, "limit": 2}, "offset"),
        ({"limit": 3, "dataType": "int"}, "limit"),
        ({"limit": 1, "dataType": "float32"}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"scale": 0}, "scale"),
        ({"scale": "nan"}, "scale"),
        ({"dataType": "complex"}, "dataType"),
    ],
)
def test_what_makes_no_sense_is_named_by_its_path(visitor: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=rf"^visitors\.{field}: "):
        _register(**visitor)


def test_words_and_bytes_in_other_orders() -> None:
    # 1.5 as float32 is 3FC00000
    assert _register(limit=2, dataType="float").decode([0x3FC0, 0]) == 1.5
    assert _register(limit=2, dataType="float", isRegisterSwap=True).decode([0, 0x3FC0]) == 1.5
    assert _register(limit=2, dataType="float", isSwap=True).decode([0xC03F, 0]) == 1.5
    assert _register(limit=1, dataType="float", scale=0.1).decode([0xFFCE]) == pytest.approx(-5.0)
    assert _register(limit=1, dataType="int").decode([0xFFCE]) == 65486
    assert _register(limit=2, dataType="string").decode([0x6869, 0]) == "hi"


@given(
    st.sampled_from([("uint16", 1), ("int16", 1), ("int32", 2), ("uint32", 2), ("int64", 4), ("float64", 4)]),
    st.booleans(),
    st.booleans(),
    st.integers(0, 30000),
)
def test_what_is_written_is_read(kind: tuple[str, int], swap: bool, swap_words: bool, value: int) -> None:
    one = _register(dataType=kind[0], limit=kind[1], isSwap=swap, isRegisterSwap=swap_words)
    assert one.decode(one.encode(value)) == value


def test_a_scaled_value_is_written_as_the_device_counts() -> None:
    assert _register(limit=1, scale=0.1, dataType="float").encode(41.5) == [415]


@pytest.mark.parametrize(("kind", "value"), [("uint16", -1), ("int16", 40000), ("int32", 2**40), ("uint16", "x")])
def test_what_does_not_fit_is_refused(kind: str, value: object) -> None:
    with pytest.raises((ValueRefused, TypeError)):
        _register(dataType=kind, limit=2 if kind == "int32" else 1).encode(value)


def test_bytes_fill_their_registers() -> None:
    one = register({"register": "HoldingRegister", "limit": 2}, "BYTES", "x")
    assert one.encode(b"\x01\x02\x03\xff") == [0x0102, 0x03FF]
    assert one.decode([0x0102, 0x03FF]) == b"\x01\x02\x03\xff"
    with pytest.raises(ValueRefused, match="3 bytes are not the 4 of 2 registers"):
        one.encode(b"\x01\x02\x03")


def test_an_input_register_cannot_be_written() -> None:
    with pytest.raises(ValueRefused, match="InputRegister cannot be written"):
        Register(Table.INPUT, 0).encode(1)


@given(st.lists(st.tuples(st.sampled_from(list(Table)), st.integers(0, 500), st.sampled_from([1, 2, 4])), max_size=40))
def test_blocks_hold_every_register_once_and_are_not_too_long(places: list[tuple[Table, int, int]]) -> None:
    wanted = [(f"p{n}", Register(t, a, 1 if t.bits else c)) for n, (t, a, c) in enumerate(places)]
    made = blocks(wanted)
    assert sorted(member for block in made for member in block.members) == sorted(wanted) if wanted else made == []
    for block in made:
        assert block.table.bits or block.count <= MAX_WORDS
        for _, one in block.members:
            assert one.table is block.table
            assert block.address <= one.address
            assert one.address + one.count <= block.address + block.count


def test_neighbours_go_in_one_request() -> None:
    near = [("a", Register(Table.HOLDING, 0)), ("b", Register(Table.HOLDING, 1 + GAP, 2, "uint32"))]
    [block] = blocks(near)
    assert (block.address, block.count) == (0, 3 + GAP)
    assert block.values([7, *[0] * GAP, 1, 2])["a"] == 7
    assert len(blocks([*near, ("c", Register(Table.HOLDING, 100)), ("d", Register(Table.INPUT, 0))])) == 3
