"""The in-memory runtime passes the same suite as containerd (tests/integration/test_edged_containerd.py)."""

from pathlib import Path

from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime
from octoedge.testing.lifecycle import IMAGE, PROGRAMS, check_runtime


def test_the_in_memory_runtime_behaves_like_a_runtime(tmp_path: Path) -> None:
    async def main() -> None:
        runtime = MemoryRuntime(VirtualClock(), images=(IMAGE,))
        runtime.programs.update(PROGRAMS)
        await check_runtime(runtime, tmp_path)

    run(main())
