"""What a file switches on that is not there, or off that runs all the same, is told."""

from __future__ import annotations

import pytest

from octoedge.api.config import ineffective
from octoedge.api.config.load import default_cloudcore, default_edgecore, parse_cloudcore, parse_edgecore


def test_of_the_defaults_nothing_is_said() -> None:
    assert ineffective.in_cloudcore(default_cloudcore().modules) == []
    assert ineffective.in_edgecore(default_edgecore().modules) == []


@pytest.mark.parametrize(
    ("module", "switch"),
    [
        ("edgeController", "false"),
        ("syncController", "false"),
        ("router", "true"),
        ("taskManager", "true"),
    ],
)
def test_each_switch_without_effect_in_the_cloud_is_told(module: str, switch: str) -> None:
    config = parse_cloudcore(f"modules: {{{module}: {{enable: {switch}}}}}".encode(), "file")
    (told,) = ineffective.in_cloudcore(config.modules)
    assert told.startswith(f"modules.{module}.enable is {switch}, but ")


@pytest.mark.parametrize("module", ["serviceBus", "taskManager"])
def test_each_switch_without_effect_on_a_node_is_told(module: str) -> None:
    config = parse_edgecore(f"modules: {{{module}: {{enable: true}}}}".encode(), "file")
    (told,) = ineffective.in_edgecore(config.modules)
    assert told.startswith(f"modules.{module}.enable is true, but ")
