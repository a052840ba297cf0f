"""For all tests: no example has a deadline; a busy machine is no defect."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("octoedge", deadline=None)
settings.load_profile("octoedge")
