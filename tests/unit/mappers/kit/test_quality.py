"""What each mapper in the box declares of itself, and what shows it."""

from __future__ import annotations

from importlib.metadata import entry_points, metadata
from pathlib import Path

import pytest

from octoedge.commands.mapper import main
from octoedge.errors import ConfigError
from octoedge.mappers.framework.mapper import ENTRY_POINTS, protocol
from octoedge.mappers.framework.run import load
from octoedge.mappers.kit import quality, run

ROOT = Path(__file__).parents[4]
ENTRIES = [one for one in entry_points(group=ENTRY_POINTS) if one.value.startswith("octoedge.mappers.")]
ALIASES = {"bluetooth": "ble"}
"""KubeEdge's name of a protocol → ours."""
OURS = sorted({one.name for one in ENTRIES} - ALIASES.keys())
TITLES = [check.title for check in run.CHECKS]


def _declared(name: str) -> quality.Declared:
    said = quality.declared(name)
    assert said is not None, f"{name} has no quality.yaml"
    return said


@pytest.mark.parametrize("name", OURS)
def test_every_mapper_in_the_box_declares_every_rule(name: str) -> None:
    assert quality.problems(_declared(name), TITLES, ()) == []


@pytest.mark.parametrize("name", OURS)
def test_what_shows_a_rule_exists(name: str) -> None:
    for rule, one in _declared(name).items():
        file, _, test = one.get("done", "").partition("::")
        if test:
            assert f"\ndef {test}(" in (ROOT / file).read_text(), f"{rule}: {file}::{test}"
        else:
            assert "exempt" in one or file.startswith("kit: "), rule


@pytest.mark.parametrize("name", OURS)
def test_every_key_is_documented(name: str) -> None:
    known = protocol(name).octoedge_keys  # type: ignore[union-attr]
    pages = "".join((ROOT / "docs" / page).read_text() for page in ("tutorial-devices.md", "how-to/mappers.md"))
    assert [key for key in known.settings | known.visitor if f"`{key}`" not in pages] == []


@pytest.mark.parametrize("name", OURS)
def test_a_simulator_that_is_declared_is_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["simulate", "--help"])
    there = name in capsys.readouterr().out.partition("}")[0]
    assert there == ("done" in _declared(name)["simulator"])


@pytest.mark.parametrize("name", OURS)
def test_what_stands_bad_servers_has_a_rig_that_can_be_spoilt(name: str) -> None:
    rig = run.rig_for(name)
    can = {"slow", "absent", "nonsense"} <= rig.spoils
    assert can == ("done" in _declared(name)["bad-server-tested"])
    assert any(len(point.wishes) > 1 for point in rig.points)
    assert ("deaf" in rig.spoils) == ("done" in _declared(name)["ignored-writes"])


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_a_mapper_answers_kubeedges_name_of_its_protocol_too(alias: str, name: str) -> None:
    assert protocol(alias) is protocol(name)
    assert type(load(alias)).protocol == alias, "a mapper of the devices that say so"
    assert quality.declared(alias) == quality.declared(name)
    assert type(run.rig_for(alias)) is type(run.rig_for(name))
    assert {alias, name} <= set(metadata("octoedge").get_all("Provides-Extra") or ())


def test_a_declaration_that_does_not_hold_is_told() -> None:
    said = {
        **_declared("modbus"),
        "deadlines": {"done": "kit: slow device"},
        "read-back": {"done": "kit: magic"},
        "bytes": {"exempt": "no"},
        "beauty": {"done": "x"},
    }
    assert sorted(quality.problems(said, TITLES, ["slow device"])) == [
        "beauty is no rule",
        "bytes is exempt for no reason",
        "deadlines is declared done, and the check 'slow device' fails",
        "read-back: the kit has no check 'magic'",
    ]


def test_a_file_declares_beside_itself(tmp_path: Path) -> None:
    mapper = tmp_path / "boiler.py"
    assert quality.declared(str(mapper)) is None
    (tmp_path / "boiler.quality.yaml").write_text('deadlines: {done: "kit: slow device"}\n')
    assert quality.declared(str(mapper)) == {"deadlines": {"done": "kit: slow device"}}
    assert "bytes is not declared" in "".join(quality.problems({"deadlines": {"done": "x"}}, TITLES, ()))
    for wrong in ("- a\n", "deadlines: done\n", "deadlines: {finished: x}\n", "a: [\n"):
        (tmp_path / "boiler.quality.yaml").write_text(wrong)
        with pytest.raises(ConfigError, match=r"boiler\.quality\.yaml"):
            quality.declared(str(mapper))
