"""`octoedge who-can node NAME`: what a stolen certificate of that node could read or change.

list the cluster → CloudCore's own rules (`edgecontroller.reach`) → what passes at CloudHub
ask the API server for the rules of the node and of its pods' service accounts → what MetaServer would pass
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from typing import Any

import msgspec

from octoedge.api.meta import typed, view
from octoedge.cloud.edgecontroller.reach import Access, Known, reach
from octoedge.cloud.edgecontroller.references import facts
from octoedge.commands.identity import add_kubeconfig, ask
from octoedge.errors import ConfigError
from octoedge.keadm.table import table
from octoedge.kube.client import Client, SpeakingAs
from octoedge.kube.kinds import CONFIGMAPS, NODES, PERSISTENTVOLUMECLAIMS, PODS, SECRETS, SERVICEACCOUNTS, Kind
from octoedge.protocol.handshake import NODES_GROUP, certificate_name
from octoedge.protocol.resource import Resource

_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
_KINDS: dict[str, Kind] = {
    "configmap": CONFIGMAPS,
    "secret": SECRETS,
    "persistentvolumeclaim": PERSISTENTVOLUMECLAIMS,
    "serviceaccount": SERVICEACCOUNTS,
}
_EVERYBODY = frozenset({"authorization.k8s.io", "authentication.k8s.io"})
"""Groups of questions about oneself, which everybody may ask."""

Row = dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The node, and how to print it."""
    parser.add_argument("what", choices=("node",), help="whose certificate")
    parser.add_argument("name", metavar="NAME", help="the node's name")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="table or JSON")
    add_kubeconfig(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what could be done."""
    rows = ask(arguments.kube_config, lambda client: who_can(client, arguments.name))
    if arguments.output == "json":
        print(json.dumps({"node": arguments.name, "access": rows}, indent=1))
        return 0
    print(table(("where", "as", "verb", "what"), [tuple(row.values()) for row in rows]))
    print(
        f"\nThis holds where CloudCore enforces it (modules.cloudHub.authorization). What is not listed is refused and "
        f"logged. `octoedge node revoke {arguments.name}` ends it all."
    )
    return 0


async def who_can(client: Client, node: str) -> list[Row]:
    """All that is open to who holds the certificate of `node`."""
    known = await _known(client, node)
    if node not in known.nodes:
        raise ConfigError(f"there is no node {node}; there are {', '.join(known.nodes) or 'none'}")
    accesses = reach(node, known)
    rows = [_row("channel 10000", f"node {node}", access) for access in accesses]
    rows += await _rules(client, f"node {node}", SpeakingAs(certificate_name(node), (NODES_GROUP,)), "default")
    for namespace, name in sorted({(one.namespace, one.name) for one in accesses if one.kind == "serviceaccount"}):
        speaking = SpeakingAs(f"system:serviceaccount:{namespace}:{name}")
        rows += await _rules(client, f"account {namespace}/{name}", speaking, namespace)
    return rows


async def _known(client: Client, node: str) -> Known:
    pods = [facts(typed(raw, "v1", "Pod")) for raw in (await client.list(PODS)).items]
    nodes = [view(raw).metadata for raw in (await client.list(NODES)).items]
    labels = next((meta.labels or {} for meta in nodes if meta.name == node), {})
    objects = []
    for kind, listed in _KINDS.items():
        metas = (view(raw).metadata for raw in (await client.list(listed)).items)
        objects += [Resource(meta.namespace, kind, meta.name) for meta in metas]
    return Known(tuple(pods), tuple(sorted(meta.name for meta in nodes)), tuple(sorted(objects)), labels)


def _row(where: str, who: str, access: Access) -> Row:
    place = f"{access.namespace}/" if access.namespace else ""
    return {"where": where, "as": who, "verb": access.verb, "what": f"{access.kind} {place}{access.name}"}


async def _rules(client: Client, who: str, speaking: SpeakingAs, namespace: str) -> list[Row]:
    """What the API server would let through in this name: MetaServer's requests are made in it."""
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    answer = await client.request("POST", _REVIEW, body=msgspec.json.encode(body), speaking_as=speaking)
    rules: Iterable[dict[str, Any]] = (msgspec.json.decode(answer).get("status") or {}).get("resourceRules") or []
    return [
        {
            "where": "MetaServer",
            "as": who,
            "verb": ",".join(rule.get("verbs") or ()),
            "what": _resources(rule) + f" in {namespace}",
        }
        for rule in rules
        if not set(rule.get("apiGroups") or ()) <= _EVERYBODY
    ]


def _resources(rule: dict[str, Any]) -> str:
    groups = "|".join(group or "core" for group in rule.get("apiGroups") or ())
    names = f" named {','.join(rule['resourceNames'])}" if rule.get("resourceNames") else ""
    return f"{','.join(rule.get('resources') or ())} ({groups}){names}"
