"""Log lines: one line each, to standard error, with time, level and module.

Signs on the wire at debug level are fixed: `>` sent, `<` received, `=` a change of state. Secrets are never logged, and
no payload above debug.
"""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s %(levelname).1s %(name)s: %(message)s"


def set_up(level: str = "info") -> None:
    """Send log lines of `level` (debug, info, warning, error) and above to standard error."""
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=_FORMAT)
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
