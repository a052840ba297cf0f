"""Whose a node's name is: first come, first served, until an administrator says otherwise."""

from __future__ import annotations

import pytest

from octoedge.pki import identity
from octoedge.pki.identity import Identity, Issued, Request, Shown

DAY = 86400.0
NOW = 1000 * DAY
GRACE = 90 * DAY
FIRST = Issued("A1", "key-1", NOW + DAY)
HELD = Identity("edge-1", (FIRST,))


def _asks(shown: Shown, key: str = "key-2", *, serial: str = "", known: bool = True) -> Request:
    return Request("edge-1", key, shown, serial, known)


def _refusal(known: Identity | None, request: Request, now: float = NOW) -> str:
    return identity.refusal(known, request, now=now, grace=GRACE)


def test_the_token_for_all_does_not_open_a_name_that_is_held() -> None:
    assert "keadm token create --node edge-1" in _refusal(HELD, _asks(Shown.OPEN))
    assert "octoedge node release edge-1" in _refusal(None, _asks(Shown.OPEN)), "it joined before lists were kept"


@pytest.mark.parametrize(
    ("known", "request_"),
    [
        (None, _asks(Shown.OPEN, known=False)),
        (HELD, _asks(Shown.OPEN, known=False)),  # an administrator deleted the Node
        (HELD, _asks(Shown.OPEN, "key-1")),  # the same machine asks again
        (identity.released(HELD, "edge-1"), _asks(Shown.OPEN)),
        (identity.released(None, "edge-1"), _asks(Shown.OPEN)),
        (HELD, _asks(Shown.BOUND)),
        (HELD, _asks(Shown.CERTIFICATE, serial="A1")),
        (HELD, _asks(Shown.CERTIFICATE, serial="FROM-BEFORE")),
        (None, _asks(Shown.CERTIFICATE, serial="FROM-BEFORE")),
    ],
)
def test_who_gets_a_certificate(known: Identity | None, request_: Request) -> None:
    assert _refusal(known, request_) == ""


def test_the_key_of_an_expired_certificate_is_good_for_a_while() -> None:
    asks = _asks(Shown.KEY, "key-1")
    assert _refusal(HELD, asks, FIRST.until + GRACE) == ""
    assert "ended more than 90 days ago" in _refusal(HELD, asks, FIRST.until + GRACE + 1)
    assert _refusal(HELD, _asks(Shown.KEY, "key-2")) == "token is empty"
    assert _refusal(None, asks) == "token is empty"


def test_who_joins_anew_ends_what_was_issued_before() -> None:
    for request in (_asks(Shown.BOUND), _asks(Shown.OPEN, known=False)):
        after = identity.with_issued(HELD, request, Issued("B2", "key-2", NOW))
        assert identity.refuses_certificate(after, "A1")
        assert identity.refuses_certificate(after, "FROM-BEFORE")
        assert not identity.refuses_certificate(after, "B2")
        assert identity.takes_away(HELD, after)
    fresh = identity.with_issued(None, _asks(Shown.OPEN, known=False), Issued("B2", "key-2", NOW))
    assert not identity.refuses_certificate(fresh, "FROM-BEFORE")


def test_a_renewal_ends_nothing_and_the_list_stays_short() -> None:
    known = HELD
    for number in range(20):
        issued = Issued(f"C{number}", f"key-{number}", NOW)
        after = identity.with_issued(known, _asks(Shown.CERTIFICATE, issued.key), issued)
        assert not identity.refuses_certificate(after, "A1")
        assert not identity.takes_away(known, after)
        known = after
    assert len(known.issued) == 8
    assert known.issued[-1].serial == "C19"


def test_a_revoked_node_is_out_until_it_is_released_and_its_old_certificates_for_ever() -> None:
    gone = identity.revoked("edge-1", "2026-11-21: stolen")
    assert "stolen" in identity.refuses_certificate(gone, "A1")
    assert identity.takes_away(HELD, gone)
    assert identity.takes_away(None, gone)
    assert not identity.takes_away(gone, gone)
    for shown in Shown:
        assert "was revoked (2026-11-21: stolen)" in _refusal(gone, _asks(shown, "key-1", serial="A1"))
    back = identity.released(gone, "edge-1")
    assert identity.refuses_certificate(back, "A1")
    assert _refusal(back, _asks(Shown.KEY, "key-1")) == "token is empty"
    assert _refusal(back, _asks(Shown.CERTIFICATE, serial="A1"))
    joined = identity.with_issued(back, _asks(Shown.OPEN), Issued("B2", "key-2", NOW))
    assert not identity.refuses_certificate(joined, "B2")
    assert identity.refuses_certificate(joined, "A1")
