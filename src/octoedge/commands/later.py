"""Modules that the agent's libraries import and the agent hardly ever uses: imported when they are first used.

    postpone()          before anything else is imported

What is once imported stays in memory, and these came to 2 MiB of it: `subprocess` imports `locale`, `shutil`
the decoders of archives, `msgspec` its reader of types, `asyncio` `inspect` with all types of the syntax tree. A
stand-in takes their place; the first use of anything in one imports the real module, and nobody sees the difference.

`typing_extensions` is kept out altogether: msgspec prefers it where a development environment has it, and does with
`typing` what it would do with it.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_SELDOM = (
    "bz2", "copy", "inspect", "ipaddress", "locale", "lzma", "msgspec.inspect", "msgspec.toml", "msgspec.yaml",
    "shutil", "textwrap", "tokenize",
)  # fmt: skip


def postpone(names: tuple[str, ...] = _SELDOM) -> None:
    """Put stand-ins where the modules are not imported yet."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = _Later(name)
    if "typing_extensions" not in sys.modules:
        sys.modules["typing_extensions"] = None  # type: ignore[assignment]


class _Later(ModuleType):
    """Becomes the module when something in it is asked for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what the import system itself looks at
            raise AttributeError(f"module {self.__name__!r} is not imported yet and has no {name}")
        import importlib

        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        real = importlib.import_module(self.__name__)
        self.__dict__.update(real.__dict__)
        return getattr(real, name)
