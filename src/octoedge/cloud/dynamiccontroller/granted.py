"""What every node may read although no role says so: what it needs to answer names. Pure.

EndpointSlices of headless Services, by exactly this selector. CloudCore reads them in its own name, so that nodes need
no right to all EndpointSlices of the cluster; Kubernetes' RBAC knows no selectors.
"""

from __future__ import annotations

import msgspec

from octoedge.errors import MessageError
from octoedge.protocol.application import FOLLOW, Application, option_as, parse_key

_HEADLESS = "service.kubernetes.io/headless"
_SLICES = ("discovery.k8s.io", "v1", "endpointslices")


class _Chosen(msgspec.Struct, frozen=True, rename="camel"):
    """The option that counts."""

    label_selector: str = ""


def is_granted(asked: Application) -> bool:
    """Whether this is a node's own question for them."""
    if asked.verb not in ("list", FOLLOW) or asked.subresource or (isinstance(asked.account, str) and asked.account):
        return False
    try:
        key = parse_key(asked.key)
        labels = option_as(asked, _Chosen).label_selector
    except MessageError:
        return False  # who answers such a question says what is wrong with it
    return (key.group, key.version, key.plural, key.name) == (*_SLICES, "") and labels == _HEADLESS
