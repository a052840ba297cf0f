"""What `edgecore` and `cloudcore` have alike: KubeEdge's flags, and how they end.

    arguments ─► a flag that prints, or a configuration file ─► serve ─► exit status

Little is imported here: `--version` costs nothing, and what an agent imports stays in its memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from octoedge.errors import ConfigError, OctoedgeError, TokenError, first_of
from octoedge.version import VERSION

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
"""sysexits' EX_CONFIG: a person must act, starting again will not help."""


class Program(NamedTuple):
    """A program that runs until it is stopped."""

    name: str
    default_config: str
    """Path of its configuration file."""
    about: str
    """What it does: a sentence for `--help`."""
    prints: Mapping[str, Callable[[], str]]
    """Flags that print a configuration and exit."""
    serve: Callable[[str], None]
    """Run with the configuration file of this path until stopped."""


def run(program: Program, arguments: Sequence[str]) -> int:
    """Do what the arguments say; returns the exit status."""
    config_file = program.default_config
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, has_value, value = word.partition("=")
        if name == "--config" and (has_value or rest):
            config_file = value if has_value else rest.pop(0)
            continue
        text = _printed(program, word)
        if text is None:
            print(f"{program.name}: {word!r} is not understood\n\n{_usage(program)}", end="", file=sys.stderr)
            return EXIT_USAGE
        print(text, end="")
        return 0
    try:
        program.serve(config_file)
    except (OctoedgeError, BaseExceptionGroup, KeyboardInterrupt) as error:
        return _ended(program, first_of(error))
    return 0


def stop_on_signals(stop: Callable[[], None]) -> None:
    """Call `stop` when the process is asked to end; in a running event loop.

    The loop's own way to take signals would import `inspect`, which costs an agent 0.7 MiB; so would `signal.signal`,
    which makes text of the handler that was there before.
    """
    import _signal  # type: ignore[import-not-found]  # typeshed has no word of it
    import asyncio
    import contextlib

    loop = asyncio.get_running_loop()

    def asked(_number: int, _frame: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: this is the end already
            loop.call_soon_threadsafe(stop)

    for number in (_signal.SIGTERM, _signal.SIGINT):
        _signal.signal(number, asked)


def _printed(program: Program, word: str) -> str | None:
    if word == "--version":
        return f"{program.name} {VERSION}\n"
    if word in ("--help", "-h"):
        return _usage(program)
    return program.prints[word]() if word in program.prints else None


def _ended(program: Program, error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 0
    if not isinstance(error, OctoedgeError):
        raise error from None
    print(f"{program.name}: {error}", file=sys.stderr)
    senseless = isinstance(error, ConfigError | TokenError) or isinstance(error.__cause__, ConfigError | TokenError)
    return EXIT_CONFIG if senseless else EXIT_FAILED


def _usage(program: Program) -> str:
    return f"""usage: {program.name} [--config FILE] [--version] [--defaultconfig] [--minconfig]

{program.about}

  --config FILE     configuration, as KubeEdge's (default {program.default_config})
  --version         print the version and exit
  --defaultconfig   print a configuration with every key and exit
  --minconfig       print a configuration with the keys that most people set and exit
"""
