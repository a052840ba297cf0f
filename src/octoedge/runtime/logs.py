"""Log lines: one line each, to standard error, with time, level and module.

Signs on the wire at debug level are fixed: `>` sent, `<` received, `=` a change of state. Secrets are never logged, and
no payload above debug.
"""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


class OneLine(logging.Formatter):
    """What a device or a server has said may be in a message: signs that are none of a line are escaped (`\\n`)."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is logging's
        """The line, without the traceback."""
        text = super().formatMessage(record)
        if text.isprintable():
            return text
        return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def set_up(level: str = "info") -> None:
    """Send log lines of `level` (debug, info, warning, error) and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine(_FORMAT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    for noisy in ("aiohttp.access", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class SaidOnce:
    """Says a recurring complaint once when it begins or changes, and once when it is over."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, str] = {}

    def trouble(self, subject: str, text: str) -> None:
        """Something is wrong with `subject`; repeated texts stay silent."""
        if self._said.get(subject) != text:
            self._said[subject] = text
            self._log.warning("%s: %s", subject, text)

    def over(self, subject: str, text: str) -> None:
        """`subject` is well again; silent when nothing was wrong."""
        if self._said.pop(subject, None) is not None:
            self._log.info("%s: %s", subject, text)
