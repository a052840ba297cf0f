"""`octoedge apiserver`: the embedded Kubernetes API server. Arguments → settings → run."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from octoedge.commands import snapshot
from octoedge.commands.program import stop_on_signals
from octoedge.errors import ConfigError, OctoedgeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What can be set on the command line."""
    parser.add_argument("--data-dir", type=Path, required=True, help="where database, keys and kubeconfigs are kept")
    parser.add_argument("--listen", default="127.0.0.1:6443", metavar="HOST:PORT", help="default %(default)s")
    parser.add_argument(
        "--advertise-address",
        action="append",
        default=[],
        metavar="IP",
        help="an address or name that clients use; the first one goes into the kubeconfigs; may be repeated",
    )
    parser.add_argument(
        "--kubelet-endpoint",
        default="https://127.0.0.1:10003",
        metavar="URL",
        help="where logs are asked for: CloudCore's stream server (default %(default)s); "
        "empty: the address of each Node, as a kube-apiserver does it",
    )
    parser.add_argument("--kubelet-ca", type=Path, metavar="FILE", help="the CA that its certificate must come from")
    parser.add_argument(
        "--audit",
        default="actions",
        choices=("off", "actions", "writes"),
        help="what is written to audit.log in the data directory: exec, attach, port-forward, proxy, tokens and changes"
        " of roles; or every write too (default %(default)s)",
    )
    parser.add_argument(
        "--node-monitor-grace-period",
        type=float,
        default=40.0,
        metavar="SECONDS",
        help="a node that is silent for so long is unreachable (default %(default)s)",
    )
    parser.add_argument(
        "--node-monitor-period", type=float, default=5.0, metavar="SECONDS", help="how often (default %(default)s)"
    )
    parser.add_argument("--log-level", default="info", choices=("debug", "info", "warning", "error"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; returns the exit status."""
    line = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="octoedge apiserver",
        description="The embedded Kubernetes API server. "
        "`octoedge apiserver snapshot FILE` and `restore FILE` save and restore what it holds, while it runs.",
    )
    add_arguments(parser)
    try:
        if line and line[0] in snapshot.TEXTS:
            return snapshot.main(line)
        return run(parser.parse_args(line))
    except OctoedgeError as problem:
        print(f"octoedge apiserver: {problem}", file=sys.stderr)
        return 1


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    try:
        import uvloop
    except ImportError as error:
        raise ConfigError("the API server needs the cloud extra: pip install 'octoedge[cloud]'") from error

    from octoedge.runtime import logs, openfiles
    from octoedge.transport.websocket_server import OneLineForGarbage

    logs.set_up(arguments.log_level)
    logging.getLogger("aiohttp.server").addFilter(OneLineForGarbage())
    openfiles.allow_many()
    os.umask(0o077)  # the database holds Secrets
    uvloop.run(_serve(_settings(arguments)))
    return 0


def _settings(arguments: argparse.Namespace) -> Any:
    from octoedge.apiserver.access.audit import Level
    from octoedge.apiserver.apiserver import Settings

    host, _, port = arguments.listen.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"--listen {arguments.listen}: HOST:PORT is wanted, such as 127.0.0.1:6443")
    host = host.strip("[]")
    shown = arguments.advertise_address or [host if host not in ("", "0.0.0.0", "::") else "127.0.0.1"]  # noqa: S104
    return Settings(
        data_dir=arguments.data_dir,
        host=host,
        port=int(port),
        advertise=tuple(shown),
        kubelet_endpoint=arguments.kubelet_endpoint,
        kubelet_ca=arguments.kubelet_ca,
        audit=Level(arguments.audit),
        node_grace=arguments.node_monitor_grace_period,
        node_period=arguments.node_monitor_period,
    )


async def _serve(settings: Any) -> None:
    from octoedge.apiserver.apiserver import ApiServer

    server = ApiServer(settings)
    stop_on_signals(server.stop)
    await server.run()


if __name__ == "__main__":
    sys.exit(main())
