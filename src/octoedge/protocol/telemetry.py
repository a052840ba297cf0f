"""Telemetry between two Octoedges, and at rest: numbered values of device properties, in columns. No I/O.

    times, texts ──pack──► Column ──unpack──► times, texts          exactly those texts
    Batch = Sections, one per stream: which stream, from which number on, what was dropped, the Column

A stream is a property of a device in one life of a node's outbox (its epoch); its values are numbered from 1. Times are
milliseconds since the Unix epoch, written as differences of differences: 0 again and again where a device is read on a
beat. Decimal values are written as whole numbers of their last digit, and as differences too; other texts as they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from operator import sub

import msgspec

from octoedge.errors import MessageError

MAX_VALUES = 4096
"""Values in one column."""
MAX_BATCH = 8192
"""Values in one batch."""
MAX_SECTIONS = 2048
MAX_TEXT = 4096
"""Characters of a value."""
MAX_GAPS = 256
"""Gaps that a section may name."""
MAX_NAME, MAX_EPOCH, MAX_WHY = 512, 32, 200
LATEST = 1 << 53
"""Times and numbers are below this."""
_LARGEST = 1 << 60
_TEXTS = -1
_DECIMAL = re.compile(r"(?!-[0.]*\Z)-?(?:0|[1-9][0-9]{0,14})(?:\.([0-9]{1,9}))?")


class Column(msgspec.Struct, frozen=True, array_like=True):
    """Times and values of a stream, in its order."""

    times: list[int] = []
    values: list[int | str] = []
    digits: int = 0
    """Behind the decimal point; -1: the values are texts."""
    exact: bool = True
    """Whether every value has all of these digits; else zeros at the end, and then the point, are left out."""

    def __len__(self) -> int:
        return len(self.times)


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """Values that will never come: from which number to which, and why."""

    first: int
    last: int
    why: str

    def __len__(self) -> int:
        return self.last - self.first + 1


class Section(msgspec.Struct, frozen=True, array_like=True):
    """What a batch brings of one stream."""

    device: str
    """`<namespace>/<name>`"""
    property_name: str
    epoch: str
    first: int
    """Number of the first value; everything before it has been sent, or is named in `gaps`."""
    numbered: int
    """How many values this stream had when the batch was made."""
    gaps: list[Gap] = []
    column: Column = Column()

    @property
    def last(self) -> int:
        """The number up to which all is told once this section is stored."""
        return self.first + len(self.column) - 1

    @property
    def stream(self) -> str:
        """Its name without the epoch."""
        return f"{self.device}/{self.property_name}"


class Outcome(msgspec.Struct, frozen=True):
    """The cloud's answer to a batch: everything in it is stored, but for streams that it refuses."""

    refused: dict[str, str]
    """Stream → why."""


def pack(times: Sequence[int], texts: Sequence[str]) -> Column:
    """The column that says these; as many times as texts, times from 0 to `LATEST`."""
    form = _form(texts)
    if form is None:
        return Column(_differences(_differences(times)), list(texts), _TEXTS)
    digits, exact = form
    numbers = [_number(text, digits) for text in texts]
    if numbers and not -_LARGEST < min(numbers) <= max(numbers) < _LARGEST:
        return Column(_differences(_differences(times)), list(texts), _TEXTS)
    return Column(_differences(_differences(times)), [*_differences(numbers)], digits, exact)


def unpack(column: Column) -> tuple[list[int], list[str]]:
    """Times and texts. Raises `MessageError` for a column that `pack` does not make."""
    times, values = _plain(column)
    if column.digits == _TEXTS:
        return times, [str(value) for value in values]
    digits, exact = column.digits, column.exact
    return times, [_text(int(number), digits, exact=exact) for number in values]


def joined(columns: Sequence[Column]) -> Column:
    """One column of several that follow each other."""
    if len({(column.digits, column.exact) for column in columns}) > 1:
        parts = [unpack(column) for column in columns]
        return pack([*chain(*(part[0] for part in parts))], [*chain(*(part[1] for part in parts))])
    plain = [_plain(column) for column in columns]
    times = _differences(_differences([*chain(*(part[0] for part in plain))]))
    values = [*chain(*(part[1] for part in plain))]
    digits, exact = columns[0].digits, columns[0].exact
    return Column(times, values if digits == _TEXTS else [*_differences([int(v) for v in values])], digits, exact)


def tail(column: Column, skip: int) -> Column:
    """The column without its first `skip` values."""
    times, texts = unpack(column)
    return pack(times[skip:], texts[skip:])


def encode(sections: Sequence[Section]) -> bytes:
    """The body of a batch."""
    return msgspec.json.encode(sections)


def decode(body: bytes) -> list[Section]:
    """The sections of a batch, each one checked; `MessageError` says what is wrong with it."""
    try:
        sections = msgspec.json.decode(body, type=list[Section])
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"a batch of telemetry cannot be read: {error}") from error
    if len(sections) > MAX_SECTIONS or sum(len(section.column) for section in sections) > MAX_BATCH:
        raise MessageError(f"a batch of telemetry has at most {MAX_SECTIONS} streams and {MAX_BATCH} values")
    for section in sections:
        _check(section)
    return sections


def split(device: str) -> tuple[str, str]:
    """Namespace and name."""
    namespace, _, name = device.partition("/")
    return namespace, name


def _check(section: Section) -> None:
    namespace, name = split(section.device)
    if not namespace or not name or "/" in name or not section.property_name or len(section.stream) > MAX_NAME:
        raise MessageError(f"telemetry names the stream {section.stream[:100]!r}; it is NAMESPACE/DEVICE/PROPERTY")
    where = f"telemetry of {section.stream}"
    if not 0 < len(section.epoch) <= MAX_EPOCH:
        raise MessageError(f"{where}: the epoch has 1 to {MAX_EPOCH} characters")
    if not (section.first >= 1 and section.last <= section.numbered < LATEST):
        raise MessageError(f"{where}: values {section.first} to {section.last} of {section.numbered} cannot be")
    if len(section.gaps) > MAX_GAPS:
        raise MessageError(f"{where}: more than {MAX_GAPS} gaps")
    for gap in section.gaps:
        if not 1 <= gap.first <= gap.last < section.first or len(gap.why) > MAX_WHY:
            raise MessageError(f"{where}: the gap {gap.first} to {gap.last} cannot be before value {section.first}")
    try:
        unpack(section.column)
    except MessageError as error:
        raise MessageError(f"{where}: {error}") from error


def _plain(column: Column) -> tuple[list[int], list[int | str]]:
    """Times and values without differences."""
    if len(column.times) != len(column.values) or len(column) > MAX_VALUES:
        raise MessageError(f"{len(column.times)} times and {len(column.values)} values are no column")
    times = [*accumulate(accumulate(column.times))]
    if times and not 0 <= min(times) <= max(times) < LATEST:
        raise MessageError("a time is not in milliseconds since 1970")
    if column.digits == _TEXTS:
        if any(not isinstance(value, str) or len(value) > MAX_TEXT for value in column.values):
            raise MessageError(f"a value is no text of {MAX_TEXT} characters at most")
        return times, column.values
    if not 0 <= column.digits <= 9 or any(isinstance(value, str) for value in column.values):
        raise MessageError("a value is no whole number of its last digit")
    numbers = [*accumulate(int(value) for value in column.values)]
    if numbers and not -_LARGEST < min(numbers) <= max(numbers) < _LARGEST:
        raise MessageError("a value is beyond what a column holds")
    return times, [*numbers]


def _form(texts: Iterable[str]) -> tuple[int, bool] | None:
    """Digits behind the point, and whether all texts have as many; None when a text is no such number."""
    digits: set[int] = set()
    zeros = False
    for text in texts:
        found = _DECIMAL.fullmatch(text)
        if found is None:
            return None
        fraction = found[1]
        digits.add(len(fraction) if fraction else 0)
        zeros = zeros or (fraction is not None and fraction[-1] == "0")
    if len(digits) <= 1:
        return (max(digits, default=0), True)
    return None if zeros else (max(digits), False)


def _number(text: str, digits: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(digits, "0")) if digits else int(whole)


def _text(number: int, digits: int, *, exact: bool) -> str:
    if not digits:
        return str(number)
    padded = str(abs(number)).rjust(digits + 1, "0")
    text = f"{'-' if number < 0 else ''}{padded[:-digits]}.{padded[-digits:]}"
    return text if exact else text.rstrip("0").rstrip(".")


def _differences(numbers: Sequence[int]) -> list[int]:
    """The first number, and from each to the next."""
    return [*numbers[:1], *map(sub, numbers[1:], numbers)]
