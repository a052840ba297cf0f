"""The kit at work: all checks of one mapper, a line each."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from octoedge.errors import ConfigError, OctoedgeError
from octoedge.mappers.framework.run import load, subclasses
from octoedge.mappers.kit import quality
from octoedge.mappers.kit.bench import SECONDS, Bench, mistake
from octoedge.mappers.kit.checks import CHECKS, Check
from octoedge.mappers.kit.rig import Rig

__all__ = ["CHECKS", "judge", "rig_for"]

ENTRY_POINTS = "octoedge.rigs"


async def judge(
    what: str, say: Callable[[str], None], many: int | None = None, checks: Sequence[Check] = CHECKS,
    seconds: float = SECONDS,
) -> int:  # fmt: skip
    """How many checks the mapper fails. Raises `ConfigError` when there is no mapper, or no rig for it."""
    rig = rig_for(what)
    rig.many = rig.many if many is None else many
    with tempfile.TemporaryDirectory(prefix="octoedge-kit-") as folder:
        async with Bench(what, rig, Path(folder), seconds).working() as bench:
            await bench.start()
            failed = [check.title for check in checks if not await _passes(check, bench, say)]
    return len(failed) + _judged(what, failed, say)


def _judged(what: str, failed: Sequence[str], say: Callable[[str], None]) -> int:
    """1 when what the mapper declares of itself does not hold."""
    said = quality.declared(what)
    if said is None:
        return 0
    wrong = quality.problems(said, [check.title for check in CHECKS], failed)
    for problem in wrong:
        say(f"FAILED  quality.yaml: {problem}")
    if not wrong:
        done = sum("done" in one for one in said.values())
        say(f"ok      quality.yaml: {done} of {len(said)} rules done, the others exempt with a reason")
    return int(bool(wrong))


async def _passes(check: Check, bench: Bench, say: Callable[[str], None]) -> bool:
    if check.needs and check.needs not in bench.rig.spoils:
        say(f"-       {check.title}: the rig cannot be {check.needs}")
        return True
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        bench.alive()
        await check.run(bench)
    except OctoedgeError as error:
        code = bench.process.returncode if bench.process is not None else None
        say(f"FAILED  {check.title}: {error}{'' if code is None else f'; the process ended with {code}'}")
        for line in bench.said().splitlines()[-6:]:
            say(f"          {line}")
        return False
    except Exception as error:
        say(f"FAILED  {check.title}: a mistake in the rig: {mistake(error)}")
        return False
    notes, bench.notes = bench.notes, []
    say(f"ok      {check.title} ({'; '.join([*notes, f'{loop.time() - began:.1f} s'])})")
    return True


def rig_for(what: str) -> Rig:
    """The device to test a mapper with: of its own file, or of its protocol."""
    mapper = load(what)
    found = subclasses(Path(what), Rig) if Path(what).suffix == ".py" else []
    own = [one for one in found if one.protocol == mapper.protocol]
    if own:
        return _made(own[0], what)
    for entry in entry_points(group=ENTRY_POINTS, name=mapper.protocol):
        try:
            rig: type[Rig] = entry.load()
        except ImportError as error:
            hint = f"pip install 'octoedge[{mapper.protocol}]'"
            raise ConfigError(f"the rig of {mapper.protocol} needs a package ({error}); `{hint}`") from error
        return _made(rig, what)
    raise ConfigError(
        f"there is no device to test {what} with: write a subclass of octoedge.mappers.kit.Rig with "
        f'protocol="{mapper.protocol}" into the file; docs/how-to/mappers.md shows one'
    )


def _made(rig: type[Rig], what: str) -> Rig:
    try:
        return rig()
    except Exception as error:
        raise ConfigError(f"no device to test {what} with can be made: {rig.__name__}(): {mistake(error)}") from error
