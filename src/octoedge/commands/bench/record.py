"""What was measured, and when: a run that measures a part, fails in a part or is ended keeps the rest.

    a scenario ends ─► measured, or failed ─► FILE.json ─► the page is drawn from it (`report`)

The file lies beside the page. What another machine measured is not mixed with what this one does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from octoedge.errors import ConfigError

Samples = dict[str, list[float]]
_SAME = ("cores", "architecture")
"""What makes a machine the same one."""
_LONGEST = 160
"""Characters of why a scenario failed."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of one figure."""

    samples: list[float] = []
    taken: str = ""
    """The moment of its run, UTC, as people read it."""
    failed: str = ""
    """Why the last run has no value."""


class Record(msgspec.Struct, frozen=True):
    """All that is known; figures by key, and how many seconds each scenario took."""

    machine: dict[str, str]
    rows: dict[str, Row] = {}
    seconds: dict[str, float] = {}

    def measured(self, title: str, samples: Mapping[str, list[float]], taken: str, seconds: float) -> Record:
        """The same, and what a scenario found."""
        found = {key: Row([_rounded(value) for value in values], taken) for key, values in samples.items()}
        times = {**self.seconds, title: round(seconds, 1)}
        return msgspec.structs.replace(self, rows={**self.rows, **found}, seconds=times)

    def failed(self, keys: Iterable[str], why: str, taken: str) -> Record:
        """The same, and these figures have no value any more: an old one would look like a new one."""
        text = " ".join(why.split()).replace("|", "/")[:_LONGEST]
        lost = {key: Row(taken=taken, failed=text or "no reason was given") for key in keys}
        return msgspec.structs.replace(self, rows={**self.rows, **lost})


def _rounded(value: float) -> float:
    """To what a figure can be worth."""
    return float(f"{value:.5g}")


def load(path: Path, machine: dict[str, str]) -> Record:
    """What earlier runs on this machine have left; nothing when there was none. Raises `ConfigError`."""
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return Record(machine)
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(f"{path} cannot be read as what earlier runs have measured: {error}; remove it") from error
    if any(kept.machine.get(key) != machine.get(key) for key in _SAME):
        return Record(machine)
    return msgspec.structs.replace(kept, machine=machine)


def save(path: Path, record: Record) -> None:
    """Keep it, a line for each figure; a run that is killed here leaves the old file or the new one."""
    parts = (f'"{name}": {_lines(getattr(record, name))}' for name in Record.__struct_fields__)
    replace(path, f"{{{', '.join(parts)}}}\n".encode())


def _lines(table: Mapping[str, object]) -> str:
    lines = (
        f"\n {msgspec.json.encode(key).decode()}: {msgspec.json.encode(row).decode()}" for key, row in table.items()
    )
    return f"{{{','.join(lines)}\n}}"


def replace(path: Path, text: bytes) -> None:
    """Write a file as a whole or not at all."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_bytes(text)
    os.replace(beside, path)
