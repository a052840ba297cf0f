"""`edgecore`: arguments → configuration → run.

Little is imported before the arguments are read, so that `--version` costs nothing, and nothing that the running agent
does not need, because what is once imported stays in memory.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from octoedge.commands.later import postpone
from octoedge.errors import ConfigError, OctoedgeError, TokenError, first_of
from octoedge.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from octoedge.api.config.edgecore import EdgeCoreConfig

DEFAULT_CONFIG = "/etc/kubeedge/config/edgecore.yaml"
USAGE = f"""usage: edgecore [--config FILE] [--version] [--defaultconfig] [--minconfig]

Run the agent of an edge node.

  --config FILE     configuration, as KubeEdge's (default {DEFAULT_CONFIG})
  --version         print the version and exit
  --defaultconfig   print a configuration with every key and exit
  --minconfig       print a configuration with the keys that most people set and exit
"""

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_CONFIG = 78
"""sysexits' EX_CONFIG: a person must act, starting again will not help."""


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the program."""
    sys.exit(_main(sys.argv[1:] if arguments is None else arguments))


def _main(arguments: list[str]) -> int:
    config_file = DEFAULT_CONFIG
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        name, has_value, value = word.partition("=")
        if word in _PRINTS:
            _PRINTS[word]()
            return 0
        if name == "--config" and (has_value or rest):
            config_file = value if has_value else rest.pop(0)
            continue
        print(f"edgecore: {word!r} is not understood\n\n{USAGE}", file=sys.stderr)
        return EXIT_USAGE
    try:
        return _run(config_file)
    except OctoedgeError as error:
        print(f"edgecore: {error}", file=sys.stderr)
        senseless = isinstance(error, ConfigError | TokenError) or isinstance(error.__cause__, ConfigError | TokenError)
        return EXIT_CONFIG if senseless else EXIT_FAILED
    except KeyboardInterrupt:
        return 0


def _run(given: str) -> int:
    postpone()
    from pathlib import Path

    config_file = Path(given)
    config = _read_in_child(config_file)
    from octoedge.runtime import logs

    logs.set_up(config.octoedge.log_level)

    import asyncio

    from octoedge.transport.websocket import small_tls_buffers

    small_tls_buffers()
    try:
        asyncio.run(_serve(config, config_file))
    except BaseExceptionGroup as group:
        raise first_of(group) from None
    return 0


def _read_in_child(config_file: Path) -> EdgeCoreConfig:
    """Read and check the file in a child: what that imports would stay in the agent's memory (1.5 MiB)."""
    from octoedge.api.config.handover import unpack

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = EXIT_FAILED
        try:
            os.close(reader)
            status = _hand_over(config_file, writer)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        handed = pipe.read()
    _, status = os.waitpid(child, 0)
    if os.waitstatus_to_exitcode(status) == 0:
        return unpack(handed)
    raise ConfigError(handed.decode(errors="replace") or f"the process that reads {config_file} died")


def _hand_over(config_file: Path, writer: int) -> int:
    """In the child: the packed configuration, or the sentence that says what is wrong with it."""
    from octoedge.api.config.handover import pack
    from octoedge.api.config.load import load_edgecore

    with os.fdopen(writer, "wb") as pipe:
        try:
            pipe.write(pack(load_edgecore(config_file, local_ip="127.0.0.1")))
        except OctoedgeError as error:
            pipe.write(str(error).encode())
            return EXIT_CONFIG
    return 0


async def _serve(config: EdgeCoreConfig, config_file: Path) -> None:
    import asyncio
    import logging
    import signal

    from octoedge.edge.edgecore import build

    log = logging.getLogger("octoedge.edgecore")
    core = build(config, config_file)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, core.stop)
    log.info("edgecore %s starts for node %s", VERSION, core.node)
    await core.run()
    log.info("edgecore has stopped")


def _version() -> None:
    print(f"edgecore {VERSION}")


def _usage() -> None:
    print(USAGE, end="")


def _default_config() -> None:
    from octoedge.api.config.load import default_edgecore
    from octoedge.api.config.show import dump_yaml

    print(dump_yaml(default_edgecore()), end="")


def _min_config() -> None:
    from octoedge.api.config.load import default_edgecore
    from octoedge.api.config.show import min_edgecore
    from octoedge.api.config.yaml import dump

    print(dump(min_edgecore(default_edgecore())), end="")


_PRINTS = {
    "--version": _version,
    "--help": _usage,
    "-h": _usage,
    "--defaultconfig": _default_config,
    "--minconfig": _min_config,
}

if __name__ == "__main__":
    main()
