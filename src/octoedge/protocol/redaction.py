"""What a capture must not hold is put out of every message and object before anything is written. No I/O.

    Redactor(key).message(bytes of a message) → the same message, secrets replaced

Replaced are: the data of Secrets, wherever they travel; tokens, certificates and keys, whatever field they stand in;
the value of every variable, field, flag or line whose name says password, token or the like; what a variable holds that
looks made by a machine; and from then on the value of every Secret that was seen. A placeholder has the length of what
it stands for and is the same for the same value within one capture, so that two values can still be told apart; without
the key, which nobody keeps, nothing leads back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from octoedge.protocol.message import Message

_MARK = "redacted-"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_SHORTEST_KNOWN, _LONGEST_KNOWN = 6, 8192
"""Characters of a Secret's value that is looked for elsewhere: a shorter one is found in everything."""
_LONGEST_WORD = 10
"""Letters of a value such as `postgres`, which half of all objects hold: it is put out of Secrets only."""
_MOST_KNOWN = 256
_DEEPEST = 60
"""Levels of an object; what lies deeper is left out as a whole."""

_NAME = r"pass(?:word|wd|phrase|code)?|pwd|secret|token|api[-_.]?key|access[-_.]?key|private[-_.]?key|credentials?"
_SECRET_FIELD = re.compile(
    rf"(?:^|.*[^a-z]|.*(?=[A-Z]))(?i:{_NAME}|authorization|cookie|client[-_.]?key(?:[-_.]?data)?|tls[-_.]?key)s?$"
)
_SECRET_VARIABLE = re.compile(r"(?i)pass|pwd|secret|token|key|cred|auth|private|salt|dsn|conn(?:ection)?_?str|webhook")
_MACHINE_MADE = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/=_-]{24,}")
_IN_TEXT = re.compile(
    r"(?P<pem>(?<=-----BEGIN )[A-Z0-9 ]+-----[\s\S]*?(?=-----END |\Z))"
    r"|(?P<jwt>(?<![\w-])eyJ[\w-]{6,}\.[\w-]+\.[\w-]*)"
    r"|(?i:(?<=\bbearer )|(?<=\bbasic ))(?P<bearer>[\w+/=.~-]+)"
    r"|(?<=://)(?P<user>[^/\s:@\"']*:[^/\s@\"']+)(?=@)"
    rf"|(?P<name>(?i:{_NAME})s?(?:[\"']?\s*[=:]\s*[\"']?|>))(?P<value>"
    r"(?<=\")(?:[^\"\\\n]|\\.){1,2000}|(?<=')[^'\n]{1,2000}|(?<=>)[^<]{1,2000}"
    r"|(?<=[\s:])[|>][-+\d]*[ \t]*\n(?:[ \t]+\S.*\n?)+|[^\s\"',;&]+)"
    rf"|(?P<flag>(?<![\w-])--(?i:[\w-]*(?:{_NAME}))\s+)(?P<given>\S+)"
)
"""In the texts of others: takes time in proportion to a text, whatever it says."""
_FLAG = re.compile(rf"--?(?i:[\w-]*(?:{_NAME}))")
"""An argument whose value is the next one."""
_PEM_IN_BASE64 = "LS0tLS1CRUdJTi"
_OBJECT_IN_BASE64 = ("eyI", "eyJ", "W3si")
_SECRET_KINDS = frozenset({"Secret", "SecretList"})
_ABOUT_SECRETS = re.compile(r"(?:^|/)secrets?(?:/|$)")
_DATA = frozenset({"data", "stringData"})
_SIGNING = frozenset({"request", "certificate"})
"""Fields of a CertificateSigningRequest."""
_BODIES = frozenset({"Option", "ReqBody", "RespBody", "Data"})
"""Fields of an Application, and of the patch in its `Option`, that hold bytes as base64, whatever those are."""
_OF_HTTP = re.compile(r"(?i)upgrade|connection|host|date|server|sec-websocket-.*")
_HEADERS = frozenset(
    {"node_id", "project_id", "connectionuse", "user-agent", "octoedge-store", "octoedge-version", "octoedge-speaks"}
)
"""Headers of the handshake that say nothing secret."""


class Redactor:
    """Redacts one capture; remembers the values of the Secrets that it has seen."""

    def __init__(self, key: bytes) -> None:
        """`key` is random and for this capture alone, 16 to 64 bytes."""
        self._key = key
        self._known: dict[str, None] = {}
        self._find_known: re.Pattern[str] | None = None

    def message(self, message: Message) -> Message:
        """The same message without secrets."""
        secret = bool(_ABOUT_SECRETS.search(message.route.resource))
        content = self.document(bytes(message.content), secret=secret)
        return msgspec.structs.replace(message, content=msgspec.Raw(content))

    def document(self, body: bytes, *, secret: bool = False) -> bytes:
        """A JSON document without secrets; `secret`: it is about Secrets, whatever it says of itself."""
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return msgspec.json.encode(self.placeholder(body.decode(errors="replace")))
        return msgspec.json.encode(self._value(value, "", secret, 0))

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers of a handshake without those that every one has; of those that nobody knows only the names stay."""
        return {
            name: value if name.lower() in _HEADERS else self.placeholder(value)
            for name, value in headers.items()
            if not _OF_HTTP.fullmatch(name)
        }

    def placeholder(self, value: str) -> str:
        """What stands for `value`: as long as it is, and always the same."""
        mark = _MARK if len(value) >= 2 * len(_MARK) else ""
        count = 0
        while True:
            made = mark + self._letters(value, count, len(value) - len(mark))
            if made != value or not value:
                return made
            count += 1

    def _letters(self, value: str, salt: int, length: int) -> str:
        letters = ""
        block = 0
        while len(letters) < length:
            text = f"{salt}/{block}/".encode() + value.encode(errors="surrogatepass")
            letters += "".join(_LETTERS[byte & 31] for byte in hashlib.blake2b(text, key=self._key).digest())
            block += 1
        return letters[:length]

    # ---- what is where ---------------------------------------------------------------------------------------------

    def _value(self, value: Any, key: str, secret: bool, depth: int) -> Any:
        if depth > _DEEPEST:
            return None
        if isinstance(value, dict):
            return self._object(value, secret, depth)
        if isinstance(value, list):
            return self._list(value, key, secret, depth)
        if isinstance(value, int | float) and not isinstance(value, bool) and _SECRET_FIELD.match(key):
            return type(value)(0)
        if not isinstance(value, str):
            return value
        if _SECRET_FIELD.match(key):
            self._remember(value)
            return self._whole(value)
        return self._text(value, depth, secret=secret)

    def _list(self, value: list[Any], key: str, secret: bool, depth: int) -> list[Any]:
        made: list[Any] = []
        for before, one in zip(["", *value], value, strict=False):
            given = isinstance(one, str) and isinstance(before, str) and _FLAG.fullmatch(before) is not None
            made.append(self.placeholder(one) if given else self._value(one, key, secret, depth + 1))
        return made

    def _object(self, value: dict[str, Any], secret: bool, depth: int) -> dict[str, Any]:
        about = secret or value.get("kind") in _SECRET_KINDS or _names_secrets(value)
        signing = value.get("kind") == "CertificateSigningRequest" or "signerName" in value
        variable = isinstance(value.get("name"), str) and isinstance(value.get("value"), str)
        bodies = "Key" in value or "PatchType" in value
        step = about and "op" in value and "path" in value
        made = {}
        for key, one in value.items():
            if about and key in _DATA:
                made[key] = self._everything(one, key == "data", depth + 1)
            elif variable and key == "value":
                made[key] = self._variable(value["name"], one, depth)
            elif step and key == "value":
                made[key] = self._everything(one, True, depth + 1)
            elif bodies and key in _BODIES and isinstance(one, str):
                made[key] = self._body(one, about, depth)
            elif signing and key in _SIGNING and isinstance(one, str):
                made[key] = self._whole(one)
            else:
                made[key] = self._value(one, key, about, depth + 1)
        return made

    def _everything(self, value: Any, encoded: bool, depth: int) -> Any:
        """The data of a Secret: every string in it."""
        if isinstance(value, dict) and depth < _DEEPEST:
            return {key: self._everything(one, encoded, depth + 1) for key, one in value.items()}
        if isinstance(value, list) and depth < _DEEPEST:
            return [self._everything(one, encoded, depth + 1) for one in value]
        if not isinstance(value, str):
            return None if isinstance(value, dict | list) else value
        self._remember(value)
        if encoded:
            self._remember((_unpacked(value) or b"").decode(errors="replace"))
        return self._whole(value)

    def _body(self, value: str, secret: bool, depth: int) -> str:
        """A body in base64; of one that is no JSON (protobuf, YAML) nothing can be told apart, and nothing stays."""
        inner = self._inner(_unpacked(value) or b"", depth, secret)
        return self._whole(value) if inner is None else base64.b64encode(inner).decode()

    def _whole(self, value: str) -> str:
        """A placeholder; of base64 one that still is."""
        data = _unpacked(value) if len(value) % 4 == 0 else None
        if not data or value != base64.b64encode(data).decode():
            return self.placeholder(value)
        stands = self.placeholder(data.decode("latin-1")).encode("latin-1")
        return base64.b64encode(stands).decode()

    def _variable(self, name: str, value: str, depth: int) -> str:
        if _SECRET_VARIABLE.search(name) or _MACHINE_MADE.fullmatch(value):
            self._remember(value)
            return self.placeholder(value)
        return self._text(value, depth)

    # ---- in texts --------------------------------------------------------------------------------------------------

    def _text(self, text: str, depth: int, *, secret: bool = False) -> str:
        if text.startswith(_PEM_IN_BASE64):
            return self._whole(text)
        if text.startswith(_OBJECT_IN_BASE64) and (data := _unpacked(text)) is not None:
            inner = self._inner(data, depth, secret)
            return text if inner is None else base64.b64encode(inner).decode()
        if text[:1] in ("{", "[") and (inner := self._inner(text.encode(errors="replace"), depth, secret)) is not None:
            return inner.decode()
        text = _IN_TEXT.sub(self._found, text)
        return self._find_known.sub(lambda seen: self.placeholder(seen[0]), text) if self._find_known else text

    def _inner(self, data: bytes, depth: int, secret: bool) -> bytes | None:
        """A document inside a string; None when it is none."""
        try:
            value = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            return None
        made = self._value(value, "", secret, depth + 1)
        return data if made == value else msgspec.json.encode(made)

    def _found(self, seen: re.Match[str]) -> str:
        before = seen["name"] or seen["flag"] or ""
        value = seen[0][len(before) :]
        if seen["pem"]:
            head, dashes, rest = value.partition("-----")
            return head + dashes + re.sub(r"\S+", lambda line: self.placeholder(line[0]), rest)
        return before + self.placeholder(value)

    def _remember(self, value: str) -> None:
        value = value.strip()
        word = value.isalpha() and len(value) <= _LONGEST_WORD
        fits = _SHORTEST_KNOWN <= len(value) <= _LONGEST_KNOWN and not word and not value.startswith(_MARK)
        if fits and value not in self._known and len(self._known) < _MOST_KNOWN:
            self._known[value] = None
            longest_first = sorted(self._known, key=len, reverse=True)
            self._find_known = re.compile("|".join(map(re.escape, longest_first)))


def _names_secrets(value: dict[str, Any]) -> bool:
    """Whether this is an Application about Secrets: its bodies are not always of that kind, a patch is of none."""
    key = value.get("Key")
    return isinstance(key, str) and _ABOUT_SECRETS.search(key) is not None


def _unpacked(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
