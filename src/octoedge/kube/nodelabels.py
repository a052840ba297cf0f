"""Which labels a node may give itself, as in Kubernetes: by the others, pods are kept apart from nodes."""

from __future__ import annotations

from collections.abc import Mapping

RESERVED = "node-restriction.kubernetes.io"
"""No node may ever touch labels below this."""
_OWN = frozenset(
    (
        "kubernetes.io/hostname",
        "kubernetes.io/arch",
        "kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/instance-type",
        "node.kubernetes.io/instance-type",
        "failure-domain.beta.kubernetes.io/region",
        "failure-domain.beta.kubernetes.io/zone",
        "topology.kubernetes.io/region",
        "topology.kubernetes.io/zone",
        # KubeEdge's nodes register themselves with these.
        "node-role.kubernetes.io/edge",
        "node-role.kubernetes.io/agent",
    )
)
_OWN_PREFIXES = ("kubelet.kubernetes.io", "node.kubernetes.io")


def forbidden_labels(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The labels that were set, changed or taken away and that a node may not touch on itself."""
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    return sorted(key for key in changed if not _may_touch(key))


def reserved_labels(labels: Mapping[str, str]) -> list[str]:
    """The labels among these that only an administrator may set."""
    return sorted(key for key in labels if _below(key.partition("/")[0], RESERVED))


def _may_touch(key: str) -> bool:
    prefix, slash, _ = key.partition("/")
    if not slash or not (_below(prefix, "kubernetes.io") or _below(prefix, "k8s.io")):
        return True
    if _below(prefix, RESERVED):
        return False
    return key in _OWN or any(_below(prefix, one) for one in _OWN_PREFIXES)


def _below(prefix: str, domain: str) -> bool:
    return prefix == domain or prefix.endswith(f".{domain}")
