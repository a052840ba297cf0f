"""/livez, /healthz and /readyz: ok, or 500 with the parts that failed; `?verbose` names every part, as Kubernetes does.

A part that failed is started again by itself. Until it runs, the server is alive and serves, but is not ready: what is
asked of it is stored and not carried out. Why it failed is in the log, since anybody may ask here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from octoedge.apiserver.serving.requests import Answer, Request

PATHS = ("/healthz", "/livez", "/readyz")


class Health:
    """Answers from what the supervisor knows."""

    def __init__(self, parts: Callable[[], Collection[str]], failed: Callable[[], Collection[str]]) -> None:
        self._parts = parts
        self._failed = failed

    def answer(self, request: Request) -> Answer | None:
        """The answer to one of the paths, or to one part of it (`/readyz/scheduler`); None for any other path."""
        which, _, part = request.path.strip("/").partition("/")
        if f"/{which}" not in PATHS or (part and part not in ("ping", *self._parts())):
            return None
        failed = {name for name in self._failed() if part in ("", name)} if which == "readyz" else set()
        if not failed and (part or "verbose" not in request.query):
            return _text("ok", 200)
        lines = [
            f"[-]{name} failed: reason withheld" if name in failed else f"[+]{name} ok"
            for name in ("ping", *self._parts())
            if part in ("", name)
        ]
        lines.append(f"{which} check {'failed' if failed else 'passed'}")
        return _text("\n".join(lines) + "\n", 500 if failed else 200)


def _text(text: str, code: int) -> Answer:
    return Answer(text.encode(), code, "text/plain; charset=utf-8")
