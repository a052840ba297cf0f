"""`cloudcore`: arguments → configuration → run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from octoedge.commands.program import Program, run, stop_on_signals
from octoedge.runtime.address import local_ip
from octoedge.version import VERSION

if TYPE_CHECKING:
    import asyncio
    import logging
    from collections.abc import Callable

    from octoedge.api.config.cloudcore import CloudCoreConfig, KubeApiConfig
    from octoedge.cloud.cloudcore import CloudCore
    from octoedge.kube.access import Access


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the program."""
    sys.exit(run(CLOUDCORE, sys.argv[1:] if arguments is None else arguments))


def _run(config_file: str) -> None:
    from octoedge.api.config.load import load_cloudcore
    from octoedge.runtime import logs, memory, openfiles

    config = load_cloudcore(config_file, local_ip=local_ip())
    logs.set_up(config.octoedge.log_level)
    openfiles.allow_many()
    memory.collect_seldom()
    access = _access(config.kube_api_config)

    import asyncio

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(config, access))


async def _serve(config: CloudCoreConfig, access: Access) -> None:
    import asyncio
    import logging

    from octoedge.api.config import ineffective
    from octoedge.cloud.cloudcore import CloudCore
    from octoedge.kube.client import Client
    from octoedge.runtime.clock import SystemClock
    from octoedge.transport.websocket_server import OneLineForGarbage

    log = logging.getLogger("octoedge.cloudcore")
    logging.getLogger("aiohttp.server").addFilter(OneLineForGarbage())
    async with Client(access) as client:
        core = CloudCore(config, client, SystemClock())
        stop_on_signals(core.stop)
        log.info("cloudcore %s starts; API server %s (%s)", VERSION, access.server, access.origin)
        for sentence in ineffective.in_cloudcore(config.modules):
            log.warning("%s", sentence)
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


def _default_config() -> str:
    from octoedge.api.config.load import default_cloudcore
    from octoedge.api.config.show import dump_yaml

    return dump_yaml(default_cloudcore(local_ip=local_ip()))


def _min_config() -> str:
    from octoedge.api.config.load import default_cloudcore
    from octoedge.api.config.show import min_cloudcore
    from octoedge.api.config.yaml import dump

    return dump(min_cloudcore(default_cloudcore(local_ip=local_ip())))


CLOUDCORE = Program(
    "cloudcore",
    "/etc/kubeedge/config/cloudcore.yaml",
    "Run the cloud side: the door for edge nodes, and the controllers between them and the Kubernetes API.",
    {"--defaultconfig": _default_config, "--minconfig": _min_config},
    _run,
)

if __name__ == "__main__":
    main()
