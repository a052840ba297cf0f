"""NAT rules that lead an API server's requests to CloudCore by their port, as KubeEdge's IptablesManager makes them.

    planned(what `iptables -S` says, who should have which port) → commands       no I/O
    Iptables.reconcile → runs them

Only the chain TUNNEL-PORT and the two jumps to it are touched; they stay when CloudCore stops, since connections use
them. IPv4 only, as in KubeEdge.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import shutil
from collections.abc import Iterator, Mapping, Sequence

from octoedge.errors import InstallError

CHAIN = "TUNNEL-PORT"
_COMMENT = "kubeedge tunnel port"
_DEADLINE_SECONDS = 10.0
_LOCK_SECONDS = 5

Command = tuple[str, ...]
"""Arguments of iptables."""


def planned(now: str, wanted: Mapping[str, int], stream_port: int) -> list[Command]:
    """What is to be done; `now` is the table nat as `iptables -S` prints it, `wanted` is IP of CloudCore → port."""
    lines = set(now.splitlines())
    commands: list[Command] = []
    if f"-N {CHAIN}" not in lines:
        commands.append(("-N", CHAIN))
    commands += [
        ("-A", hook, "-m", "comment", "--comment", _COMMENT, "-j", CHAIN)
        for hook in ("OUTPUT", "PREROUTING")
        if f'-A {hook} -m comment --comment "{_COMMENT}" -j {CHAIN}' not in lines
    ]
    rules = dict(_rules(wanted, stream_port))
    prefix = f"-A {CHAIN} "
    have = [line for line in now.splitlines() if line.startswith(prefix)]
    commands += [("-A", CHAIN, *rule) for line, rule in rules.items() if line not in have]
    # Last, so that no moment is without a rule that is needed. What is there twice goes once.
    seen: set[str] = set()
    for line in have:
        if line not in rules or line in seen:
            commands.append(("-D", CHAIN, *line.removeprefix(prefix).split()))
        seen.add(line)
    return commands


def _rules(wanted: Mapping[str, int], stream_port: int) -> Iterator[tuple[str, Command]]:
    """(as `iptables -S` prints it, as it is asked for)."""
    for ip, port in wanted.items():
        try:
            ipaddress.IPv4Address(ip)
        except ValueError:
            continue
        if not 0 < port < 65536:
            continue
        rule = f"-p tcp -m tcp --dport {port} -j DNAT --to-destination {ip}:{stream_port}"
        yield f"-A {CHAIN} {rule}", tuple(rule.split())


class Iptables:
    """Runs the plan; needs the rights to change NAT rules."""

    def __init__(self, stream_port: int, program: Sequence[str] = ("iptables",)) -> None:
        self._stream_port = stream_port
        self._program = program

    async def reconcile(self, wanted: Mapping[str, int]) -> None:
        """Make the rules; `InstallError` says why that cannot be done."""
        for command in planned(await self._run(("-S",)), wanted, self._stream_port):
            await self._run(command)

    async def _run(self, command: Sequence[str]) -> str:
        if shutil.which(self._program[0]) is None:
            raise InstallError(
                "iptables is not installed, so API servers cannot reach nodes at their port; install it, set "
                "modules.iptablesManager.mode to external, or use octoedge.kubeletAddress, which needs no rules"
            )
        arguments = ("-w", str(_LOCK_SECONDS), "-t", "nat", *command)
        process = await asyncio.create_subprocess_exec(
            *self._program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(_DEADLINE_SECONDS):
                out, error = await process.communicate()
        except TimeoutError as problem:
            raise InstallError(f"iptables {' '.join(arguments)} did not end in {_DEADLINE_SECONDS:.0f} s") from problem
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            why = error.decode(errors="replace").strip()[-300:]
            raise InstallError(
                f"iptables {' '.join(arguments)} failed: {why}; run CloudCore as root, set "
                "modules.iptablesManager.enable to false, or use octoedge.kubeletAddress, which needs no rules"
            )
        return out.decode(errors="replace")
