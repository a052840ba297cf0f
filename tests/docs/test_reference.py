"""The reference pages that are made from the code are as the code is now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_of_messages_is_current() -> None:
    made = subprocess.run((sys.executable, ROOT / "tools/routes.py"), capture_output=True, text=True, check=True)
    page = ROOT / "docs/reference/routes.md"
    assert page.read_text() == made.stdout, f"run: {sys.executable} tools/routes.py > {page.relative_to(ROOT)}"
