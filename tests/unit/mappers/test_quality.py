"""What each mapper in the box declares of itself."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

import pytest
import yaml

from octoedge.commands.mapper import main
from octoedge.mappers.kit import run
from octoedge.mappers.mapper import ENTRY_POINTS

DECLARED: dict[str, Any] = yaml.safe_load(files("octoedge.mappers").joinpath("quality.yaml").read_text())


def test_every_mapper_in_the_box_declares_itself() -> None:
    ours = {entry.name for entry in entry_points(group=ENTRY_POINTS) if entry.value.startswith("octoedge.mappers.")}
    assert set(DECLARED["mappers"]) >= ours


@pytest.mark.parametrize("protocol", DECLARED["mappers"])
def test_each_rule_is_done_or_there_is_a_reason(protocol: str) -> None:
    declared = DECLARED["mappers"][protocol]
    assert set(declared) == set(DECLARED["rules"])
    for rule, said in declared.items():
        assert said == "done" or (set(said) == {"exempt"} and len(said["exempt"]) > 8), rule


@pytest.mark.parametrize("protocol", DECLARED["mappers"])
def test_a_simulator_that_is_declared_is_there(protocol: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    there = protocol in capsys.readouterr().out.partition("}")[0]
    assert there == (DECLARED["mappers"][protocol]["simulator"] == "done")


@pytest.mark.parametrize("protocol", DECLARED["mappers"])
def test_what_stands_bad_servers_has_a_rig_that_can_be_spoilt(protocol: str) -> None:
    rig = run.rig_for(protocol)
    can = {"slow", "absent", "nonsense"} <= rig.spoils
    assert can == (DECLARED["mappers"][protocol]["bad-server-tested"] == "done")
    assert any(len(point.wishes) > 1 for point in rig.points)
