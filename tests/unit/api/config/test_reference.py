"""Every key is explained where it stands, and no key claims an effect that it does not have."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from octoedge.api.config import cloudcore, edgecore, kubelet, section
from octoedge.api.config.section import Section

EDGE = Path(section.__file__).parents[2] / "edge"
SPEAKING = {"enable"}
"""The docstring of a module's section says what is switched."""


def sections(module: ModuleType) -> list[type[Section]]:
    classes = [value for value in vars(module).values() if inspect.isclass(value) and issubclass(value, Section)]
    return [value for value in classes if value.__module__ == module.__name__]


def unexplained(module: ModuleType) -> list[str]:
    missing: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef) and not node.name.endswith(("Buffer", "Load")):
            missing += [f"{node.name}.{name}" for name in _unexplained_fields(node, module)]
    return missing


def _unexplained_fields(node: ast.ClassDef, module: ModuleType) -> list[str]:
    missing = []
    for field, following in zip(node.body, [*node.body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        kind = ast.unparse(field.annotation)
        is_section = inspect.isclass(vars(module).get(kind)) and issubclass(vars(module)[kind], Section)
        explained = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if not (explained or is_section or kind.startswith("ClassVar") or field.target.id in SPEAKING):
            missing.append(field.target.id)
    return missing


@pytest.mark.parametrize("module", [cloudcore, edgecore, kubelet], ids=lambda module: module.__name__)
def test_every_key_is_explained(module: ModuleType) -> None:
    assert len(sections(module)) > 5
    assert all(inspect.getdoc(kind) for kind in sections(module))
    assert unexplained(module) == []


def test_the_kubelet_keys_with_an_effect_are_those_that_edged_reads() -> None:
    text = "\n".join(file.read_text() for file in EDGE.rglob("*.py"))
    read = set(re.findall(r"\b(?:kubelet|tailored_kubelet_config)\.([a-z_0-9]+)", text))
    fields = set(kubelet.KubeletConfig.__struct_fields__)
    assert fields & read == kubelet.IN_EFFECT


def test_fields_that_may_be_left_out_exist() -> None:
    for module in (cloudcore, edgecore, kubelet):
        for kind in sections(module):
            assert kind.hidden_when_empty <= set(kind.__struct_fields__), kind.__name__
