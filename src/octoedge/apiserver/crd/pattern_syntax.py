"""Regular expressions as Kubernetes' schemas write them (RE2 syntax), read into a small tree.

What RE2 does not have (lookaround, backreferences) is refused here too: `PatternError` says what and where.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

MAX_LENGTH = 10_000
MAX_NESTING = 200
MAX_REPEAT = 1000

_LAST = 0x10FFFF
_WORD = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE = ((9, 10), (12, 13), (32, 32))
_DIGIT = ((48, 57),)
_CLASSES = {"d": _DIGIT, "s": _SPACE, "w": _WORD}
_POSIX = {
    "alnum": ((48, 57), (65, 90), (97, 122)),
    "alpha": ((65, 90), (97, 122)),
    "ascii": ((0, 127),),
    "blank": ((9, 9), (32, 32)),
    "cntrl": ((0, 31), (127, 127)),
    "digit": _DIGIT,
    "graph": ((33, 126),),
    "lower": ((97, 122),),
    "print": ((32, 126),),
    "punct": ((33, 47), (58, 64), (91, 96), (123, 126)),
    "space": ((9, 13), (32, 32)),
    "upper": ((65, 90),),
    "word": _WORD,
    "xdigit": ((48, 57), (65, 70), (97, 102)),
}
_ESCAPES = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_CATEGORIES = {"C": "cfos", "L": "lmotu", "M": "cen", "N": "dlo", "P": "cdefios", "S": "ckmo", "Z": "lps"}
"""Unicode's categories: a letter, and what may follow it."""

Ranges = tuple[tuple[int, int], ...]


class PatternError(ValueError):
    """Not a regular expression that can be used here."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of a set: ranges of code points, categories (`Lu`), and sets inside sets."""

    ranges: Ranges = ()
    categories: tuple[str, ...] = ()
    inner: tuple[Chars, ...] = ()
    negated: bool = False
    fold: bool = False

    def has(self, char: str) -> bool:
        """Whether the character is one of them."""
        forms = {char, *(form for form in (char.lower(), char.upper()) if len(form) == 1)} if self.fold else (char,)
        return any(self._holds(form) for form in forms) != self.negated

    def _holds(self, char: str) -> bool:
        code = ord(char)
        if any(low <= code <= high for low, high in self.ranges):
            return True
        if self.categories and unicodedata.category(char).startswith(self.categories):
            return True
        return any(inner.has(char) for inner in self.inner)


@dataclass(frozen=True, slots=True)
class Place:
    """A condition on the place between two characters: `bot`, `eot`, `bol`, `eol`, `word`, `notword`."""

    condition: str


@dataclass(frozen=True, slots=True)
class Sequence:
    """One after the other; nothing at all when empty."""

    parts: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """One of them."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """So many times; `most` None is without end."""

    part: Node
    least: int
    most: int | None


Node = Chars | Place | Sequence | Choice | Repeat


@dataclass(frozen=True, slots=True)
class _Flags:
    fold: bool = False
    lines: bool = False
    dot_all: bool = False


def parse(pattern: str) -> Node:
    """The tree of a pattern; `PatternError` when it is none."""
    if len(pattern) > MAX_LENGTH:
        raise PatternError(f"the pattern is longer than {MAX_LENGTH} characters")
    reader = _Reader(pattern)
    node = reader.choice(_Flags(), 0)
    if reader.more():
        raise PatternError("unexpected ): `)`")
    return node


class _Reader:
    """Reads a pattern from left to right."""

    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0
        self._flags = _Flags()

    def more(self) -> bool:
        return self._at < len(self._text)

    def choice(self, flags: _Flags, depth: int) -> Node:
        """Alternatives until the end or a closing parenthesis."""
        if depth > MAX_NESTING:
            raise PatternError(f"expression nests too deeply (more than {MAX_NESTING} levels)")
        outer, self._flags = self._flags, flags
        parts = [self._sequence(depth)]
        while self._take("|"):
            parts.append(self._sequence(depth))
        self._flags = outer
        return parts[0] if len(parts) == 1 else Choice(tuple(parts))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self.more() and self._text[self._at] not in "|)":
            atom = self._atom(depth)
            parts += [] if atom is None else [self._repeated(atom)]
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, atom: Node) -> Node:
        start = self._at
        bounds = self._bounds()
        if bounds is None:
            return atom
        self._take("?")
        again = self._at
        if self._bounds() is not None:
            raise PatternError(f"invalid nested repetition operator: `{self._text[start : again + 1]}`")
        return Repeat(atom, *bounds)

    def _bounds(self) -> tuple[int, int | None] | None:
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if not self._text.startswith("{", self._at):
            return None
        end = self._text.find("}", self._at)
        least, comma, most = self._text[self._at + 1 : end].partition(",")
        if end < 0 or not _number(least) or (most and not _number(most)):
            return None
        shown = self._text[self._at : end + 1]
        self._at = end + 1
        limit = int(most) if most else None if comma else int(least)
        if int(least) > MAX_REPEAT or (limit is not None and (limit > MAX_REPEAT or limit < int(least))):
            raise PatternError(f"invalid repeat count: `{shown}`")
        return int(least), limit

    def _atom(self, depth: int) -> Node | None:
        """One thing that can be repeated; None for flags, which are nothing by themselves."""
        char = self._next()
        if char == "(":
            return self._group(depth)
        if char == "[":
            return self._set()
        if char == "\\":
            return self._escape()
        if char == ".":
            newline: Ranges = () if self._flags.dot_all else ((10, 10),)
            return Chars(newline, negated=True)
        if char == "^":
            return Place("bol" if self._flags.lines else "bot")
        if char == "$":
            return Place("eol" if self._flags.lines else "eot")
        if char in "*+?":
            raise PatternError(f"missing argument to repetition operator: `{char}`")
        return self._literal(ord(char))

    def _group(self, depth: int) -> Node | None:
        flags = self._flags
        if self._take("?"):
            if self._take("P<") or (self._text[self._at : self._at + 1] == "<" and self._named() and self._take("<")):
                self._at = self._find(">", "invalid named capture") + 1
            else:
                flags, whole = self._read_flags()
                if whole:
                    self._flags = flags
                    return None
        node = self.choice(flags, depth + 1)
        if not self._take(")"):
            raise PatternError(f"missing closing ): `{self._text[:100]}`")
        return node

    def _named(self) -> bool:
        return self._text[self._at + 1 : self._at + 2] not in ("=", "!")

    def _read_flags(self) -> tuple[_Flags, bool]:
        """Flags up to `:` (for a group) or `)` (from here on)."""
        start, on, flags = self._at, True, self._flags
        setters: dict[str, Callable[[_Flags, bool], _Flags]] = {
            "i": lambda flags, on: _Flags(on, flags.lines, flags.dot_all),
            "m": lambda flags, on: _Flags(flags.fold, on, flags.dot_all),
            "s": lambda flags, on: _Flags(flags.fold, flags.lines, on),
            "U": lambda flags, _: flags,
        }
        while self.more():
            char = self._next()
            if char in ":)":
                return flags, char == ")"
            if char == "-" and on:
                on = False
            elif char in setters:
                flags = setters[char](flags, on)
            else:
                break
        raise PatternError(f"invalid or unsupported Perl syntax: `(?{self._text[start : self._at]}`")

    def _escape(self) -> Node:
        if not self.more():
            raise PatternError("trailing backslash at end of expression")
        char = self._text[self._at]
        places = {"A": "bot", "z": "eot", "b": "word", "B": "notword"}
        if char in places:
            self._at += 1
            return Place(places[char])
        if char == "Q":
            return self._quoted()
        return self._class_escape() or self._literal(self._code())

    def _quoted(self) -> Node:
        end = self._text.find("\\E", self._at)
        text = self._text[self._at + 1 : end if end >= 0 else len(self._text)]
        self._at = end + 2 if end >= 0 else len(self._text)
        return Sequence(tuple(self._literal(ord(char)) for char in text))

    def _class_escape(self) -> Chars | None:
        """`\\d`, `\\S`, `\\pL`, `\\P{Lu}` after the backslash."""
        char = self._text[self._at : self._at + 1]
        if char and char.lower() in _CLASSES:
            self._at += 1
            return Chars(_CLASSES[char.lower()], negated=char.isupper(), fold=self._flags.fold)
        if char not in ("p", "P"):
            return None
        self._at += 1
        name = self._next() if self.more() else ""
        if name == "{":
            end = self._find("}", "invalid character class range")
            name, self._at = self._text[self._at : end], end + 1
        negated = (char == "P") != name.startswith("^")
        name = name.lstrip("^")
        if name[:1] not in _CATEGORIES or name[1:] not in ("", *_CATEGORIES[name[0]]):
            raise PatternError(f"invalid character class range: `\\{char}{{{name}}}` (scripts are not supported)")
        return Chars(categories=(name,), negated=negated)

    def _code(self) -> int:
        """The code point of an escape after the backslash."""
        if not self.more():
            raise PatternError("trailing backslash at end of expression")
        char = self._next()
        if char in _ESCAPES:
            return _ESCAPES[char]
        if char == "x":
            return self._hexadecimal()
        if char == "0" or (char in "1234567" and self._text[self._at : self._at + 1] in tuple("01234567")):
            digits = char
            while len(digits) < 3 and self._text[self._at : self._at + 1] in tuple("01234567"):
                digits += self._next()
            return int(digits, 8)
        if char.isascii() and not char.isalnum():
            return ord(char)
        raise PatternError(f"invalid escape sequence: `\\{char}`")

    def _hexadecimal(self) -> int:
        if self._take("{"):
            end = self._find("}", "invalid escape sequence")
            digits, self._at = self._text[self._at : end], end + 1
        else:
            digits, self._at = self._text[self._at : self._at + 2], self._at + 2
            digits = digits if len(digits) == 2 else ""
        if not digits or not all(digit in "0123456789abcdefABCDEF" for digit in digits) or int(digits, 16) > _LAST:
            raise PatternError(f"invalid escape sequence: `\\x{digits}`")
        return int(digits, 16)

    def _set(self) -> Chars:
        start = self._at - 1
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        inner: list[Chars] = []
        first = True
        while first or not self._text.startswith("]", self._at):
            if not self.more():
                raise PatternError(f"missing closing ]: `{self._text[start : start + 100]}`")
            first = False
            found = self._set_class()
            if found is not None:
                inner.append(found)
            else:
                ranges.append(self._range(start))
        self._at += 1
        return Chars(tuple(ranges), inner=tuple(inner), negated=negated, fold=self._flags.fold)

    def _set_class(self) -> Chars | None:
        if self._text.startswith("[:", self._at):
            end = self._text.find(":]", self._at)
            name = self._text[self._at + 2 : end] if end >= 0 else ""
            if name.lstrip("^") in _POSIX:
                self._at = end + 2
                return Chars(_POSIX[name.lstrip("^")], negated=name.startswith("^"))
            if end >= 0:
                raise PatternError(f"invalid character class range: `[:{name}:]`")
        if self._text.startswith("\\", self._at):
            self._at += 1
            found = self._class_escape()
            if found is None:
                self._at -= 1
            return found
        return None

    def _range(self, start: int) -> tuple[int, int]:
        low = self._set_code()
        if not self._text.startswith("-", self._at) or self._text[self._at + 1 : self._at + 2] in ("]", ""):
            return low, low
        self._at += 1
        high = self._set_code()
        if high < low:
            raise PatternError(f"invalid character class range: `{self._text[start : self._at]}`")
        return low, high

    def _set_code(self) -> int:
        return self._code() if self._take("\\") else ord(self._next())

    def _literal(self, code: int) -> Chars:
        return Chars(((code, code),), fold=self._flags.fold)

    def _next(self) -> str:
        if not self.more():
            raise PatternError("unexpected end of the expression")
        self._at += 1
        return self._text[self._at - 1]

    def _take(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _find(self, text: str, trouble: str) -> int:
        found = self._text.find(text, self._at)
        if found < 0:
            raise PatternError(f"{trouble}: `{self._text[self._at : self._at + 50]}`")
        return found


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9
