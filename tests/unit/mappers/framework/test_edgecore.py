"""Reports to an EdgeCore that takes one call a second, as KubeEdge's does, and to one that takes no large ones."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from octoedge.dmi import messages as m
from octoedge.dmi.services import manager_methods
from octoedge.edge.devicetwin.twin import MAX_TWINS
from octoedge.errors import MessageError
from octoedge.mappers.framework.edgecore import EdgeCore
from octoedge.mappers.framework.pieces import BYTES, pieces
from octoedge.testing.clock import run
from octoedge.transport.grpc_server import serving

DEVICES = 40


class Limited:
    """A DeviceManager with KubeEdge's limit, smaller at the start."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.states: list[str] = []
        self._left, self._at = 10.0, 0.0

    async def mapper_register(self, _request: m.MapperRegisterRequest) -> m.MapperRegisterResponse:
        return m.MapperRegisterResponse()

    async def report_device_status(self, request: m.ReportDeviceStatusRequest) -> m.Empty:
        self._check(request.device_name)
        assert request.reported is not None
        self.values.setdefault(request.device_name, []).append(request.reported.twins[0].reported.value)
        return m.Empty()

    async def report_device_states(self, request: m.ReportDeviceStatesRequest) -> m.Empty:
        self._check(request.device_name)
        self.states.append(request.device_name)
        return m.Empty()

    def _check(self, name: str) -> None:
        now = asyncio.get_running_loop().time()
        self._left, self._at = min(10.0, self._left + now - self._at), now
        if self._left < 1:
            raise MessageError(f"fail to report device status because of too many request: {name}")
        self._left -= 1


def test_every_device_has_its_turn_at_an_edgecore_that_takes_one_call_a_second(tmp_path: Path) -> None:
    async def main() -> None:
        limited, info = Limited(), m.MapperInfo("x", protocol="y", address=b"/x.sock")
        edgecore = EdgeCore(tmp_path / "dmi.sock", info, lambda _: None)
        async with serving(tmp_path / "dmi.sock", 0o600, manager_methods(limited)), asyncio.TaskGroup() as group:
            work = group.create_task(edgecore.run())
            for second in range(4 * DEVICES):
                for number in range(DEVICES):
                    name = ("default", f"d{number}")
                    edgecore.report(name, [m.Twin("p", reported=m.TwinProperty(str(second)))])
                    edgecore.state(name, "ok", "")
                await asyncio.sleep(1)
            work.cancel()
        assert sorted(limited.states) == sorted(f"d{number}" for number in range(DEVICES)), "each state once"
        assert len(limited.values) == DEVICES
        assert min(map(len, limited.values.values())) >= 2, "nobody is passed over"
        assert all(said == sorted(said, key=int) for said in limited.values.values()), "the newest value each time"

    run(main())


class Picky:
    """A DeviceManager with Octoedge's own bound, which does not take one property."""

    def __init__(self, refused: str = "") -> None:
        self.sizes: list[int] = []
        self.values: dict[str, str] = {}
        self.refused = refused

    async def mapper_register(self, _request: m.MapperRegisterRequest) -> m.MapperRegisterResponse:
        return m.MapperRegisterResponse()

    async def report_device_status(self, request: m.ReportDeviceStatusRequest) -> m.Empty:
        assert request.reported is not None
        told = {twin.property_name: twin.reported.value for twin in request.reported.twins}
        self.sizes.append(len(told))
        if len(told) > MAX_TWINS or self.refused in told:
            raise MessageError("this is not taken")
        self.values |= told
        return m.Empty()

    async def report_device_states(self, _request: m.ReportDeviceStatesRequest) -> m.Empty:
        return m.Empty()


def test_thousands_of_properties_are_told_in_pieces_and_one_that_is_refused_holds_up_no_other(tmp_path: Path) -> None:
    async def main() -> None:
        picky, info = Picky("p1500"), m.MapperInfo("x", protocol="y", address=b"/x.sock")
        edgecore = EdgeCore(tmp_path / "dmi.sock", info, lambda _: None)
        async with serving(tmp_path / "dmi.sock", 0o600, manager_methods(picky)), asyncio.TaskGroup() as group:
            work = group.create_task(edgecore.run())
            twins = [m.Twin(f"p{number}", reported=m.TwinProperty(str(number))) for number in range(4200)]
            edgecore.report(("default", "d"), twins)
            await asyncio.sleep(5)
            assert picky.values.keys() == {f"p{n}" for n in range(4200) if not 1000 <= n < 2000}
            assert edgecore.counts["values"] == 3200
            picky.refused = ""
            await asyncio.sleep(60)
            assert len(picky.values) == 4200
            assert max(picky.sizes) <= MAX_TWINS
            edgecore.report(("default", "d"), twins[:1])
            await asyncio.sleep(5)
            assert picky.sizes[-1] == 1, "nothing is told again"
            work.cancel()

    run(main())


TWINS = st.builds(
    lambda number, value: m.Twin(f"p{number}", m.TwinProperty(value), m.TwinProperty(value, {"type": "string"})),
    st.integers(0, 10**6),
    st.sampled_from(["1", "x" * 4096, "€" * 4096, "\U0001f41f" * 4096]),
)


@given(st.lists(TWINS, max_size=300))
def test_a_piece_is_no_larger_than_can_be_and_nothing_is_left_out(twins: list[m.Twin]) -> None:
    cut = list(pieces(twins))
    assert [twin for piece in cut for twin in piece] == twins
    for piece in cut:
        report = m.ReportDeviceStatusRequest("d", m.DeviceStatus(tuple(piece)), "n")
        assert len(m.CODEC.encode(report, m.ReportDeviceStatusRequest)) <= BYTES + 1000
