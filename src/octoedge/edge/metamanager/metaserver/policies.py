"""What a pod's service account may do, by what the cloud told this node of it (ServiceAccountAccess; pure RBAC).

Asked where the API server cannot be: while the cloud is away, and behind a CloudCore of KubeEdge's, which would make
the request in its own name.
"""

from __future__ import annotations

import logging

from octoedge.edge.metamanager import records
from octoedge.errors import MessageError
from octoedge.protocol.application import Key
from octoedge.protocol.resource import Resource
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)

_TYPE = "serviceaccountaccess"


class Policies:
    """Judges by what is stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def allow(self, account: str, verb: str, key: Key, sub: str = "") -> bool:
        """Whether the account `<namespace>/<name>` may; not when nothing is known of it."""
        namespace, _, name = account.partition("/")
        if not name:
            return False
        stored = self._database.read_now(lambda found: records.get(found, Resource(namespace, _TYPE, name)))
        if stored is None:
            return False
        from octoedge.api import policy  # only here: most nodes never judge by themselves

        asked = policy.Question(verb, key.group, f"{key.plural}/{sub}" if sub else key.plural, key.namespace, key.name)
        try:
            return policy.allows(policy.read(stored), asked)
        except MessageError as error:
            log.warning("what service account %s may do cannot be read: %s", account, error)
            return False
