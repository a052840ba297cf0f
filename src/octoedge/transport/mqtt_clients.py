"""Who is connected to a mosquitto, by what it says in its log: the protocol has no question for it. Pure.

    Clients.hear(line) for each line of `log_type notice` → Clients.names

What clients are called is theirs to say, so a line is never taken for more than a name that comes or goes.
"""

from __future__ import annotations

import re

_MOST = 256
"""Names that are remembered."""
_COMES = re.compile(r"(?:\d+: )?New client connected from \S+ as (.*) \(p\d, c\d, k\d+(?:, u'(.*)')?\)\.")
_STARTS = re.compile(r"(?:\d+: )?mosquitto version \S+ starting")
_GOES = re.compile(r"(?:\d+: )?Client (.*)")
_STAYS = (" already connected, closing old connection.", " negotiated ")


class Clients:
    """The clients of one broker, by the names they give themselves."""

    def __init__(self) -> None:
        self._users: dict[str, str] = {}
        """User by client."""

    @property
    def names(self) -> list[str]:
        """In order; with its user where the broker asks for one."""
        return sorted(f"{name} ({user})" if user else name for name, user in self._users.items())

    def clear(self) -> None:
        """The broker is gone."""
        self._users.clear()

    def hear(self, line: str) -> bool:
        """Take a line of the log in; whether it was about a client that comes or goes."""
        if _STARTS.match(line):
            self.clear()
            return False
        if comes := _COMES.fullmatch(line):
            if len(self._users) < _MOST:
                self._users[comes[1][:128]] = (comes[2] or "")[:64]
            return True
        if not (goes := _GOES.match(line)):
            return line.partition(": ")[2].startswith("New connection from") or line.startswith("New connection from")
        said = goes[1]
        if not any(word in said for word in _STAYS):
            # The longest name that it begins with: names may hold the words of the log.
            known = max((name for name in self._users if said[:128].startswith(name)), key=len, default=None)
            if known is not None:
                del self._users[known]
        return True
