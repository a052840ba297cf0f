"""`cloudcore`: arguments → configuration → run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from octoedge.errors import ConfigError, OctoedgeError, first_of
from octoedge.runtime.address import local_ip
from octoedge.version import VERSION

if TYPE_CHECKING:
    import asyncio
    import logging
    from collections.abc import Callable

    from octoedge.api.config.cloudcore import CloudCoreConfig, KubeApiConfig
    from octoedge.cloud.cloudcore import CloudCore
    from octoedge.kube.access import Access

DEFAULT_CONFIG = Path("/etc/kubeedge/config/cloudcore.yaml")
USAGE = f"""usage: cloudcore [--config FILE] [--version] [--defaultconfig] [--minconfig]

Run the cloud side: the door for edge nodes, and the controllers between them and the Kubernetes API.

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
            config_file = Path(value if has_value else rest.pop(0))
            continue
        print(f"cloudcore: {word!r} is not understood\n\n{USAGE}", file=sys.stderr)
        return EXIT_USAGE
    try:
        return _run(config_file)
    except OctoedgeError as error:
        print(f"cloudcore: {error}", file=sys.stderr)
        senseless = isinstance(error, ConfigError) or isinstance(error.__cause__, ConfigError)
        return EXIT_CONFIG if senseless else EXIT_FAILED
    except KeyboardInterrupt:
        return 0


def _run(config_file: Path) -> int:
    from octoedge.api.config.load import load_cloudcore
    from octoedge.runtime import logs, openfiles

    config = load_cloudcore(config_file, local_ip=local_ip())
    logs.set_up(config.octoedge.log_level)
    openfiles.allow_many()
    access = _access(config.kube_api_config)

    import asyncio

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(config, access))
    except BaseExceptionGroup as group:
        raise first_of(group) from None
    return 0


async def _serve(config: CloudCoreConfig, access: Access) -> None:
    import asyncio
    import logging
    import signal

    from octoedge.cloud.cloudcore import CloudCore
    from octoedge.kube.client import Client
    from octoedge.runtime.clock import SystemClock
    from octoedge.transport.websocket_server import OneLineForGarbage

    log = logging.getLogger("octoedge.cloudcore")
    logging.getLogger("aiohttp.server").addFilter(OneLineForGarbage())
    async with Client(access) as client:
        core = CloudCore(config, client, SystemClock())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, core.stop)
        log.info("cloudcore %s starts; API server %s (%s)", VERSION, access.server, access.origin)
        async with asyncio.TaskGroup() as group:
            said = group.create_task(_say_ready(core, log), name="ready")
            await core.run()
            said.cancel()
        log.info("cloudcore has stopped")


async def _say_ready(core: CloudCore, log: logging.Logger) -> None:
    await core.ready()
    log.info("cloudcore is ready")


def _access(settings: KubeApiConfig) -> Access:
    from octoedge.kube.access import in_cluster, kubeconfig

    if settings.kube_config:
        return kubeconfig(Path(settings.kube_config), server=settings.master)
    return in_cluster()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's loop where it is installed; else asyncio's own with small TLS buffers."""
    try:
        import uvloop
    except ImportError:
        import asyncio.sslproto

        # 256 KiB of buffer for each connection otherwise; TLS records are no larger than 16 KiB.
        asyncio.sslproto.SSLProtocol.max_size = 16384
        return None
    return uvloop.new_event_loop


def _version() -> None:
    print(f"cloudcore {VERSION}")


def _usage() -> None:
    print(USAGE, end="")


def _default_config() -> None:
    from octoedge.api.config.load import default_cloudcore
    from octoedge.api.config.show import dump_yaml

    print(dump_yaml(default_cloudcore(local_ip=local_ip())), end="")


def _min_config() -> None:
    from octoedge.api.config.load import default_cloudcore
    from octoedge.api.config.show import min_cloudcore
    from octoedge.api.config.yaml import dump

    print(dump(min_cloudcore(default_cloudcore(local_ip=local_ip()))), end="")


_PRINTS = {
    "--version": _version,
    "--help": _usage,
    "-h": _usage,
    "--defaultconfig": _default_config,
    "--minconfig": _min_config,
}

if __name__ == "__main__":
    main()
