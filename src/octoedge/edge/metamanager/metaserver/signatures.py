"""Keys that sign service accounts' tokens, from the files of `serviceAccountKeyFiles`: tokens are known by them too."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from octoedge.errors import CertificateError, ConfigError
from octoedge.pki import enrol, jwt

_MOST_FILE = 48 * 1024


class KeyFiles:
    """Implements `callers.Signatures`; the files are read when the agent starts. Raises `ConfigError`."""

    def __init__(self, files: Sequence[str], issuers: Collection[str]) -> None:
        self.issuers = frozenset(issuers)
        self._keys = [key for file in files for key in _read(Path(file))]

    def verified(self, token: str) -> dict[str, Any] | None:
        """What a token says, when one of the keys has signed it."""
        return jwt.verified(token, self._keys)


def _read(file: Path) -> list[jwt.Key]:
    key = "modules.metaManager.metaServer.serviceAccountKeyFiles"
    try:
        with file.open() as opened:
            return enrol.public_keys(opened.read(_MOST_FILE))
    except (OSError, ValueError, CertificateError) as error:
        raise ConfigError(f"{key}: {file}: {error}; name files with keys that sign tokens, as PEM") from error
