"""Room for many connections: each is an open file, and a login shell hands on a limit of 1,024.

That limit is kept low for programs that use select(); a server that stays below it can be shut out by a thousand idle
connections from one machine. Go's runtime raises it in the same way.
"""

from __future__ import annotations

import contextlib
import resource

MOST = 1 << 20


def allow_many() -> int:
    """Raise the limit as far as the system allows without asking; returns how many files may be open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
