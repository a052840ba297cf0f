"""`keadm`: KubeEdge's installer, with its flags (spec: keadm). Arguments → wish → steps.

Flags of KubeEdge's that say where its programs come from (versions, images, charts) are taken and have no effect, since
the programs are the ones beside this one; a flag that would promise what we do not do is refused.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from octoedge.errors import ConfigError, InstallError, OctoedgeError
from octoedge.keadm.processes import call
from octoedge.keadm.system import Root
from octoedge.version import VERSION

ADMIN = Path("/root/.kube/config")
NO_EFFECT = "taken for KubeEdge's sake, without effect: the programs are the ones of this installation"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    try:
        line = list(sys.argv[1:] if arguments is None else arguments)
        _refuse_missing(line)
        parsed = _parser().parse_args(line)
        return int(parsed.run(parsed) or 0)
    except OctoedgeError as problem:
        print(f"keadm: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("keadm: stopped half way; `keadm reset --force` clears away what was begun", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Says what it does not know as a sentence; a flag is written out in full, as in Go programs."""

    def __init__(self, **more: Any) -> None:
        super().__init__(allow_abbrev=False, **more)

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            raise ConfigError(f"{message}; `{self.prog} --help` says what is possible")
        raise ConfigError(f"there is no flag or word {unknown}; `keadm COMMAND --help` lists what each command knows")


NOT_HERE = (
    "upgrade",
    "backup",
    "rollback",
    "config",
    "config-update",
    "manifest",
    "batch",
    "debug",
    "ctl",
    "deprecated",
)
"""KubeEdge's commands that are not here."""


def _refuse_missing(line: Sequence[str]) -> None:
    if line and line[0] in NOT_HERE:
        raise ConfigError(f"`keadm {line[0]}` is KubeEdge's, and not implemented here; `keadm --help` lists what is")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="keadm", description="Install and administer the edge, as KubeEdge's keadm.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, text, add in (
        ("init", "make this machine the cloud side", _add_init),
        ("join", "make this machine an edge node", _add_join),
        ("gettoken", "print the token that nodes join by", _add_gettoken),
        ("token", "tokens for one node or one use: create, list, delete", _add_token),
        ("reset", "take away what init or join brought", _add_reset),
        ("version", "print the version", _add_version),
    ):
        add(commands.add_parser(name, help=text, description=text))
    return parser


def _add_root(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", type=Path, default=Path("/"), metavar="DIR", help="install below DIR (default /)")


def _switch(parser: argparse.ArgumentParser, *names: str, help: str) -> None:  # noqa: A002 - argparse's own word
    """A flag as Go programs have it: `--force`, `--force=true`, `--force=false`."""
    parser.add_argument(*names, nargs="?", const=True, default=False, type=_truth, metavar="true|false", help=help)


def _truth(text: str) -> bool:
    known = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"true or false is wanted, not {text!r}")
    return known[text.lower()]


def _add_without_effect(parser: argparse.ArgumentParser, *names: str) -> None:
    for name in names:
        parser.add_argument(name, metavar="TEXT", help=NO_EFFECT)


def _add_scripts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pre-run", type=Path, metavar="FILE", help="a script to run before anything else")
    parser.add_argument("--post-run", type=Path, metavar="FILE", help="a script to run at the end")


# join


def _add_join(parser: argparse.ArgumentParser) -> None:
    from octoedge.api.config.edgecore import hostname

    _add_root(parser)
    parser.add_argument("-e", "--cloudcore-ipport", required=True, metavar="HOST:PORT", help="CloudHub's address")
    parser.add_argument("-i", "--edgenode-name", default=hostname(), metavar="NAME", help="default %(default)s")
    parser.add_argument("-t", "--token", default="", help="what `keadm gettoken` printed on the cloud")
    parser.add_argument("-s", "--certport", type=int, default=10002, metavar="PORT", help="default %(default)s")
    parser.add_argument(
        "-p", "--remote-runtime-endpoint", default="unix:///run/containerd/containerd.sock", metavar="URL",
        help="the container runtime's CRI socket (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--cgroupdriver", choices=("cgroupfs", "systemd"), default="cgroupfs")
    parser.add_argument("-l", "--labels", action="append", default=[], metavar="K=V,…", help="labels of the Node")
    parser.add_argument("--hub-protocol", choices=("websocket", "quic"), default="websocket")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PATH=VALUE,…",
        help="settings of edgecore.yaml, such as Modules.EdgeStream.Enable=false",
    )  # fmt: skip
    _add_scripts(parser)
    _add_without_effect(parser, "--kubeedge-version", "--certPath", "--image-repository", "--tarballpath")
    parser.set_defaults(run=_join)


def _join(arguments: argparse.Namespace) -> None:
    from octoedge.keadm import join
    from octoedge.keadm.steps import advance

    if arguments.hub_protocol == "quic":
        raise ConfigError("--hub-protocol quic: QUIC is not implemented; use websocket")
    host, port = join.address(arguments.cloudcore_ipport)
    wish = join.Wish(
        host, port, arguments.edgenode_name, arguments.token, arguments.certport, arguments.remote_runtime_endpoint,
        arguments.cgroupdriver, _labels(arguments.labels), arguments.set,
    )  # fmt: skip
    root = _root(arguments)
    _run_script(arguments.pre_run)
    told = join.check(wish, root)
    if told:
        _say(told)
    advance(join.steps(wish, root), _say)
    _run_script(arguments.post_run)
    _say(f"KubeEdge edgecore is running: node {wish.node}, cloud {arguments.cloudcore_ipport}")


def _labels(texts: Sequence[str]) -> dict[str, str]:
    items = [item for text in texts for item in text.split(",") if item]
    if any("=" not in item for item in items):
        raise ConfigError(f"--labels {','.join(texts)!r}: KEY=VALUE,… is wanted")
    return {key: value for key, _, value in (item.partition("=") for item in items)}


# gettoken


def _add_gettoken(parser: argparse.ArgumentParser) -> None:
    _add_root(parser)
    _add_kubeconfig(parser)
    parser.set_defaults(run=_gettoken)


def _add_kubeconfig(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kube-config", type=Path, metavar="FILE", help=f"default: `keadm init`'s own, or {ADMIN}")


def _gettoken(arguments: argparse.Namespace) -> None:
    from octoedge.keadm.cluster import join_token

    print(join_token(_kubeconfig(arguments)))


def _add_token(parser: argparse.ArgumentParser) -> None:
    from octoedge.commands.jointokens import add_arguments

    def common(action: argparse.ArgumentParser) -> None:
        _add_root(action)
        _add_kubeconfig(action)

    add_arguments(parser, common)
    parser.set_defaults(run=_token)


def _token(arguments: argparse.Namespace) -> None:
    from octoedge.commands.jointokens import run

    run(arguments, _kubeconfig(arguments))


def _kubeconfig(arguments: argparse.Namespace) -> Path:
    if arguments.kube_config is not None:
        return Path(arguments.kube_config)
    candidates = (Root(arguments.root).kubeconfig, ADMIN)
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        raise InstallError(f"there is neither {candidates[0]} nor {ADMIN}; name one by --kube-config.")
    return found


# init


def _add_init(parser: argparse.ArgumentParser) -> None:
    _add_root(parser)
    text = "a Kubernetes that is there (default: start the embedded API)"
    parser.add_argument("--kube-config", type=Path, metavar="FILE", help=text)
    text = "by which edges reach this machine (default: its addresses)"
    parser.add_argument("--advertise-address", default="", metavar="IP,…", help=text)
    text = "settings of cloudcore.yaml, such as cloudCore.modules.cloudHub.nodeLimit=1000"
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE,…", help=text)
    parser.add_argument("--api-port", type=int, default=6443, metavar="PORT", help="of the embedded API (%(default)s)")
    _switch(parser, "--dry-run", "-d", help="print cloudcore.yaml and change nothing")
    _switch(parser, "--force", help="go on although cloudcore runs already")
    _add_without_effect(parser, "--kubeedge-version", "--image-repository", "--external-helm-root", "--profile")
    parser.add_argument("--manifests", "--files", "-f", default="", metavar="DIR,…", help="refused: use kubectl apply")
    parser.set_defaults(run=_init)


def _init(arguments: argparse.Namespace) -> None:
    from octoedge.keadm import init
    from octoedge.keadm.steps import advance

    if arguments.manifests:
        raise ConfigError("--manifests is not implemented; `kubectl apply -f` does the same once this has run")
    addresses = [address for address in arguments.advertise_address.split(",") if address]
    wish = init.Wish(arguments.kube_config, addresses, arguments.set, arguments.api_port)
    root = _root(arguments)
    if arguments.dry_run:
        print(init.config(wish, root), end="")
        return
    if not arguments.force:
        init.check(wish, root)
    advance(init.steps(wish, root), _say)
    admin = arguments.kube_config or root.kubeconfig
    _say(f"CLOUDCORE started\n  export KUBECONFIG={admin}\n  keadm gettoken prints the token for `keadm join`")


# reset


def _add_reset(parser: argparse.ArgumentParser) -> None:
    _add_root(parser)
    parser.add_argument("side", nargs="?", choices=("cloud", "edge"), help="default: what is installed here")
    _add_kubeconfig(parser)
    _switch(parser, "--force", help="do not ask")
    parser.add_argument("-p", "--remote-runtime-endpoint", default="", metavar="URL", help="default: edgecore.yaml's")
    _add_scripts(parser)
    parser.set_defaults(run=_reset)


def _reset(arguments: argparse.Namespace) -> None:
    from octoedge.commands.down import end_pods
    from octoedge.keadm import reset
    from octoedge.keadm.steps import retreat

    root = _root(arguments)
    side = arguments.side or _installed(root)
    if not arguments.force and not _agreed(f"{side} in {root.etc} will be removed with all its data. Go on? [y/N] "):
        raise InstallError("nothing was changed.")
    _run_script(arguments.pre_run)
    if side == "edge":
        node = reset.installed_node(root, arguments.remote_runtime_endpoint)
        retreat(reset.edge(root, node, end_pods), _say)
    else:
        retreat(reset.cloud(root, arguments.kube_config or reset.other_kubernetes(root)), _say)
    _run_script(arguments.post_run)


def _installed(root: Root) -> str:
    print("keadm: plain `keadm reset` is deprecated; say `keadm reset edge` or `keadm reset cloud`", file=sys.stderr)
    for side, file in (("edge", root.edgecore_file), ("cloud", root.cloudcore_file)):
        if file.exists():
            return side
    raise InstallError(f"neither edge nor cloud is installed in {root.etc}; say which by `keadm reset edge|cloud`.")


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _add_version(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(run=lambda _: print(f"version: v{VERSION}"))


def _root(arguments: argparse.Namespace) -> Root:
    if os.geteuid() != 0:
        raise InstallError("this needs root; run it by sudo.")
    return Root(Path(os.path.abspath(arguments.root)))


def _run_script(script: Path | None) -> None:
    """A person's own; its words are shown."""
    if script is not None:
        print(call(("sh", str(script)), 600), end="", flush=True)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
