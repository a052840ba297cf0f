"""What every cluster has from its first moment: namespaces with their accounts, the CAs that clients read, and roles.

The server listens only after this, so nobody is refused because a role was not there yet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from octoedge.apiserver.access.rbac import defaults
from octoedge.apiserver.access.serviceaccounts import ROOT_CA, default_account, root_ca
from octoedge.apiserver.controllers.aggregation import aggregated
from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.store.backend import Backend, Edit, Keep, Put, View
from octoedge.apiserver.writing.rest import Place, Rest
from octoedge.errors import ApiError
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, rfc3339
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

Json = dict[str, Any]

NAMESPACES = ("kube-system", "default", "kube-public", "kube-node-lease", "kubeedge")
AUTHENTICATION = "extension-apiserver-authentication"


class Bootstrap:
    """Makes what is missing at the start, and what somebody removed later."""

    name = "bootstrap"
    needs: tuple[str, ...] = ("backend",)

    def __init__(self, rest: Rest, kinds: Kinds, ca_pem: Callable[[], str], clock: Clock) -> None:
        self._rest = rest
        self._backend = rest.backend
        self._kinds = kinds
        self._ca_pem = ca_pem
        self._clock = clock

    async def run(self, ready: Callable[[], None]) -> None:
        """Make everything, then watch over accounts and CAs."""
        for name in NAMESPACES:
            await self._namespace(name)
        await self._roles()
        await self.publish()
        ready()
        queue = KeyedQueue(self._accounts, workers=1, name="accounts of namespace")

        def seen(item: Item, _removed: bool) -> None:
            queue.add(item.namespace or item.name)

        async with asyncio.TaskGroup() as group:
            group.create_task(queue.run(), name="accounts")
            for resource in ("namespaces", "serviceaccounts", "configmaps"):
                group.create_task(follow(self._backend, resource, seen), name=f"follow {resource}")

    async def publish(self) -> None:
        """Write the CA to where clients read it; nothing is written where it stands already."""
        await self._backend.change(self._authentication)
        for item in self._backend.items("namespaces"):
            await self._accounts(item.name)

    async def _namespace(self, name: str) -> None:
        if self._backend.get("namespaces", "", name) is not None:
            return
        place = Place(self._kinds.named("namespaces"))
        obj = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name}}
        try:
            await self._rest.create(place, obj, {})
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _roles(self) -> None:
        """The default roles: all at once, which is one commit, then those that are put together of them."""
        wanted = list(defaults.built_in())
        async with asyncio.TaskGroup() as group:
            for obj in wanted:
                if "aggregationRule" not in obj:
                    group.create_task(self._role(obj), name=f"role {obj['metadata']['name']}")
        for obj in wanted:
            if "aggregationRule" in obj:
                await self._role(obj)

    async def _role(self, obj: Json) -> None:
        """A default role or binding, made or completed; nothing is written when it is as it should be."""
        kind = self._kinds.of_object(obj["apiVersion"], obj["kind"])
        assert kind is not None, obj["kind"]
        place = Place(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        item = self._backend.get(kind.resource, place.namespace, place.name)
        if item is not None:
            stored: Json = msgspec.json.decode(item.data)
            if defaults.reconciled(stored, obj) == stored:
                return
            await self._rest.edit(place, lambda live: defaults.reconciled(live, obj), {})
            return
        if "aggregationRule" in obj:
            obj = {**obj, "rules": aggregated(self._backend, obj)}
        await self._rest.create(Place(kind, place.namespace), obj, {})

    async def _accounts(self, namespace: str) -> None:
        """The default account and the CA of one namespace; nothing is written when they are there and right."""
        if self._complete(self._backend, namespace):
            return
        await self._backend.change(lambda view: self._missing(view, namespace))

    def _complete(self, view: Backend | View, namespace: str) -> bool:
        item = view.get("namespaces", "", namespace)
        if item is None or item.fields.get("status.phase") == "Terminating":
            return True
        return view.get("serviceaccounts", namespace, "default") is not None and not self._stale(view, namespace)

    def _stale(self, view: Backend | View, namespace: str) -> bool:
        found = view.get("configmaps", namespace, ROOT_CA)
        return found is None or (msgspec.json.decode(found.data).get("data") or {}).get("ca.crt") != self._ca_pem()

    def _missing(self, view: View, namespace: str) -> list[Edit]:
        if self._complete(view, namespace):
            return []
        now = rfc3339(self._clock.now())
        edits: list[Edit] = []
        if view.get("serviceaccounts", namespace, "default") is None:
            edits.append(Put("serviceaccounts", default_account(namespace, now)))
        if self._stale(view, namespace):
            edits.append(Put("configmaps", root_ca(namespace, self._ca_pem(), now)))
        return edits

    def _authentication(self, view: View) -> list[Edit]:
        """Where CloudCore reads which client certificates to trust."""
        data = {"client-ca-file": self._ca_pem()}
        found = view.get("configmaps", "kube-system", AUTHENTICATION)
        if found is not None:
            obj: Json = msgspec.json.decode(found.data)
            return [Keep(found)] if obj.get("data") == data else [Put("configmaps", {**obj, "data": data})]
        model = root_ca("kube-system", "", rfc3339(self._clock.now()))
        metadata = {**model["metadata"], "name": AUTHENTICATION, "annotations": {}}
        return [Put("configmaps", {**model, "metadata": metadata, "data": data})]
