"""A token that a given key has signed is its account's, also offline, if it is for us and of a pod that is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.testing.metaserver import MAPS, USER, Site, play

PART = "kubernetes.io"
CLAIMS: dict[str, Any] = {
    "iss": "https://cluster", "aud": ["api"], "sub": USER, "exp": 4e9, "nbf": 0,
    PART: {"namespace": "default", "pod": {"name": "web", "uid": "u1"}},
}  # fmt: skip


class Signed:
    """Takes every token for signed, and for what the test says."""

    issuers = frozenset(("https://cluster",))

    def __init__(self, claims: dict[str, Any] | None) -> None:
        self.claims = claims

    def verified(self, token: str) -> dict[str, Any] | None:
        return self.claims if token == "signed" else None


async def here(site: Site, uid: str = "u1") -> None:
    """The pod is on this node, and its account was told what it may."""
    rules = [{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]
    binding = {"roleBinding": {"metadata": {"name": "r", "namespace": "default"}}, "rules": rules}
    rights = {"metadata": {"name": "reader", "namespace": "default"}, "spec": {"accessRoleBinding": [binding]}}
    pod = {"metadata": {"name": "web", "namespace": "default", "uid": uid}}
    rows = [
        ("default/pod/web", "pod", msgspec.json.encode(pod).decode()),
        ("default/serviceaccountaccess/reader", "serviceaccountaccess", msgspec.json.encode(rights).decode()),
    ]
    await site.store.database.write(
        lambda connection: connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", rows).rowcount
    )


def test_it_is_known_without_the_cloud(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await here(site)
        await site.make("one")
        assert await site.names(authorization="Bearer signed") == ["one"]
        site.link.cut()
        assert await site.names(authorization="Bearer signed") == ["one"]
        assert (await site.ask(MAPS, authorization="Bearer other")).status == 401
        assert (await site.ask("/api/v1/secrets", authorization="Bearer signed")).status == 403

    play(tmp_path, test, secure=True, signatures=Signed(CLAIMS))


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://other"}, {"iss": None},
        {"aud": ["vault"]}, {"aud": []}, {"aud": None}, {"aud": 5}, {"exp": None},
        {"exp": "4000000000"}, {"nbf": 3e9}, {"sub": "admin"}, {"sub": "system:serviceaccount:other:reader"},
        {PART: None}, {PART: {"pod": None}}, {PART: {"pod": {"name": "web"}}},
        {PART: {"pod": {"name": "web", "uid": ""}}},
        {PART: {"pod": {"name": "web", "uid": "u2"}}}, {PART: {"pod": {"name": "gone", "uid": "u1"}}},
        {PART: {"pod": {"name": ["web"], "uid": {}}}}, {"aud": {"api": 1.5}, "iss": "x"},
    ],
)  # fmt: skip
def test_it_is_not_when_it_is_for_others_or_its_pod_is_not_here(tmp_path: Path, change: dict[str, Any]) -> None:
    async def test(site: Site) -> None:
        await here(site)
        site.link.cut()
        assert (await site.ask(MAPS, authorization="Bearer signed")).status == 401

    play(tmp_path, test, secure=True, signatures=Signed({**CLAIMS, **change}))


def test_one_that_has_expired_ends_with_the_cloud_there(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await here(site)
        assert (await site.ask(MAPS, authorization="Bearer signed")).status == 401

    play(tmp_path, test, secure=True, signatures=Signed({**CLAIMS, "exp": 1000.0}))
