"""What is looked at once more when an object is about to be stored: roles and bindings, and what nodes write."""

from __future__ import annotations

from octoedge.apiserver.access.authorization import Authorizer
from octoedge.apiserver.access.rbac.escalation import Escalation, Guard
from octoedge.apiserver.access.rbac.nodes import restriction
from octoedge.apiserver.access.rbac.policy import Policy
from octoedge.apiserver.serving.requests import User
from octoedge.kube.read import Target


class Guards:
    """Finds the guard of a request."""

    def __init__(self, policy: Policy, authorizer: Authorizer) -> None:
        self._escalation = Escalation(policy, authorizer)

    def __call__(self, user: User, target: Target) -> Guard | None:
        """The guard; None where there is nothing to guard, as for nearly every request."""
        guard = self._escalation.guard(user, target.group, target.resource, target.namespace)
        return guard or restriction(user, target.group, target.resource, target.namespace, target.subresource)
