"""For all tests: no example has a deadline; a busy machine is no defect.

Two ways to choose examples. `pytest` draws new ones at each run: that finds defects. `make tests`, which decides
whether a change may land, always draws the same ones for the same test, so that a change is judged by what it changed.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("octoedge", deadline=None)
settings.register_profile("same-examples", deadline=None, derandomize=True, database=None)
settings.load_profile("octoedge")
