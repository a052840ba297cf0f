"""The reference pages that are made from the code are as the code is now."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import msgspec

from octoedge.api.core import Pod
from octoedge.edge.edged.unsupported import refusals

ROOT = Path(__file__).parents[2]
PODSPEC = ROOT / "docs/reference/podspec.md"


def test_the_page_of_messages_is_current() -> None:
    made = subprocess.run((sys.executable, ROOT / "tools/routes.py"), capture_output=True, text=True, check=True)
    page = ROOT / "docs/reference/routes.md"
    assert page.read_text() == made.stdout, f"run: {sys.executable} tools/routes.py > {page.relative_to(ROOT)}"


def test_the_page_of_pod_fields_is_current() -> None:
    made = subprocess.run((sys.executable, ROOT / "tools/podspec.py"), capture_output=True, text=True, check=True)
    page = ROOT / "docs/reference/podspec.md"
    assert page.read_text() == made.stdout, f"run: {sys.executable} tools/podspec.py > {page.relative_to(ROOT)}"


def test_every_field_that_the_page_refuses_is_refused() -> None:
    rows = re.findall(r"^\| `spec\.(\S+)` \| refuses the pod: (.+) \|$", PODSPEC.read_text(), re.MULTILINE)
    assert len(rows) > 20
    for path, reason in rows:
        value: object = {"something": 1}
        for part in reversed(path.split(".")):
            value = {part.removesuffix("[]"): [value] if part.endswith("[]") else value}
        obj = msgspec.json.encode({"spec": value})
        # A view may not take such a value; what is asked here is whether the field is noticed.
        assert reason in refusals(obj, Pod()), path
