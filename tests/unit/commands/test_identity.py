"""`octoedge node certificates`: what is said about whose a name is."""

from __future__ import annotations

import pytest

from octoedge.commands.identity import row
from octoedge.pki.identity import Identity, Issued

ISSUED = (Issued("0A", "key", 1_790_000_000.0),)


@pytest.mark.parametrize(
    ("identity", "is_there", "state"),
    [
        (Identity("a", ISSUED), True, "held"),
        (Identity("a", ISSUED), False, "free: there is no Node of this name"),
        (Identity("a", ISSUED, released=True), True, "released"),
        (Identity("a", revoked="2026-09-01: stolen"), False, "revoked 2026-09-01: stolen"),
    ],
)
def test_whose_a_name_is(identity: Identity, is_there: bool, state: str) -> None:
    assert row(identity, is_there=is_there)["state"] == state


def test_until_when_the_latest_certificate_is_good() -> None:
    assert row(Identity("a", ISSUED), is_there=True)["until"] == "2026-09-21T14:13:20Z"
    assert row(Identity("a"), is_there=True)["until"] == "none"
