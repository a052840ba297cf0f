"""`edgecore`: arguments → configuration → run.

Little is imported before the arguments are read, so that `--version` costs nothing, and nothing that the running agent
does not need, because what is once imported stays in memory.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from octoedge.commands.later import postpone
from octoedge.commands.program import EXIT_CONFIG, EXIT_FAILED, Program, run, stop_on_signals
from octoedge.errors import ConfigError, OctoedgeError
from octoedge.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from octoedge.api.config.edgecore import EdgeCoreConfig


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the program."""
    sys.exit(run(EDGECORE, sys.argv[1:] if arguments is None else arguments))


def _run(given: str) -> None:
    postpone()
    from pathlib import Path

    config_file = Path(given)
    config = _read_in_child(config_file)
    from octoedge.runtime import logs

    logs.set_up(config.octoedge.log_level)

    import asyncio

    from octoedge.transport.websocket import small_tls_buffers

    small_tls_buffers()
    asyncio.run(_serve(config, config_file))


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
    import logging

    from octoedge.api.config import ineffective
    from octoedge.edge.edgecore import build

    log = logging.getLogger("octoedge.edgecore")
    core = build(config, config_file)
    stop_on_signals(core.stop)
    log.info("edgecore %s starts for node %s", VERSION, core.node)
    for sentence in ineffective.in_edgecore(config.modules):
        log.warning("%s", sentence)
    await core.run()
    log.info("edgecore has stopped")


def _default_config() -> str:
    from octoedge.api.config.load import default_edgecore
    from octoedge.api.config.show import dump_yaml

    return dump_yaml(default_edgecore())


def _min_config() -> str:
    from octoedge.api.config.load import default_edgecore
    from octoedge.api.config.show import min_edgecore
    from octoedge.api.config.yaml import dump

    return dump(min_edgecore(default_edgecore()))


EDGECORE = Program(
    "edgecore",
    "/etc/kubeedge/config/edgecore.yaml",
    "Run the agent of an edge node.",
    {"--defaultconfig": _default_config, "--minconfig": _min_config},
    _run,
)

if __name__ == "__main__":
    main()
