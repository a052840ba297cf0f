"""/readyz says which part failed; being alive is another question."""

from __future__ import annotations

from octoedge.apiserver.serving.health import Health
from octoedge.apiserver.serving.requests import Answer, Request, User


def ask(path: str, failed: set[str] | None = None, **query: str) -> Answer | None:
    request = Request("GET", path, query, {}, b"", User("nobody"))
    return Health(lambda: ["backend", "scheduler"], lambda: failed or set()).answer(request)


def test_all_is_well() -> None:
    for path in ("/readyz", "/livez", "/healthz", "/readyz/", "/readyz/scheduler", "/livez/ping"):
        answer = ask(path)
        assert answer is not None
        assert (answer.code, answer.body) == (200, b"ok")
    answer = ask("/readyz", verbose="")
    assert answer is not None
    assert answer.body == b"[+]ping ok\n[+]backend ok\n[+]scheduler ok\nreadyz check passed\n"


def test_a_part_that_failed_is_named() -> None:
    answer = ask("/readyz", {"scheduler"})
    assert answer is not None
    assert (answer.code, answer.body.splitlines()[2]) == (500, b"[-]scheduler failed: reason withheld")
    codes = {path: getattr(ask(path, {"scheduler"}), "code", 0) for path in ("/livez", "/readyz/backend")}
    assert codes == {"/livez": 200, "/readyz/backend": 200}


def test_other_paths_are_not_answered() -> None:
    assert ask("/readyzz") is ask("/readyz/nothing") is ask("/") is ask("/version") is None
