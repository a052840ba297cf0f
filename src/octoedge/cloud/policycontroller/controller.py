"""PolicyController itself (spec: metadata, section 3).

    pods on edge nodes, service accounts, RBAC ──► accesses (pure) ──► ServiceAccountAccess objects in the API
    informer of these ──► the nodes whose pods run as the account, as every other object: `Intent` and Downlink.offer

It looks at everything anew, a moment after something has changed. What it wrote is seen by `kubectl get saaccess`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Set
from typing import TypeVar

import msgspec

from octoedge.api import policy as api
from octoedge.api.meta import ObjectMeta, splice, view
from octoedge.cloud.policycontroller.accesses import Cluster, Place, spec
from octoedge.cloud.ports import Downlink, LastChanges, Live, Wanted
from octoedge.errors import ApiError, MessageError, TransportError
from octoedge.kube.client import Client
from octoedge.kube.informer import Entry, Informer
from octoedge.kube.kinds import SERVICEACCOUNTACCESSES, SERVICEACCOUNTS, Kind
from octoedge.protocol.delivery import Item
from octoedge.protocol.payloads import ObjectDelete, ObjectInsert, ObjectUpdate, Payload
from octoedge.protocol.resource import Resource
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_RBAC = "rbac.authorization.k8s.io"
_ROLES = Kind("roles", "Role", _RBAC)
_CLUSTER_ROLES = Kind("clusterroles", "ClusterRole", _RBAC, namespaced=False)
_ROLE_BINDINGS = Kind("rolebindings", "RoleBinding", _RBAC)
_CLUSTER_ROLE_BINDINGS = Kind("clusterrolebindings", "ClusterRoleBinding", _RBAC, namespaced=False)
_MOMENT = 0.5
"""Seconds in which changes are taken together."""

T = TypeVar("T")
Accounts = Callable[[], Mapping[Place, Set[str]]]
"""The service accounts that pods on edge nodes run as, and these nodes."""


class PolicyController:
    """Module: keeps ServiceAccountAccess objects, and brings them to the nodes."""

    name = "policyController"
    needs: tuple[str, ...] = ("edgeController",)

    def __init__(self, client: Client, downlink: Downlink, accounts: Accounts) -> None:
        self._client = client
        self._downlink = downlink
        self._accounts = accounts
        self._nodes: Mapping[Place, Set[str]] = {}
        self._changes = LastChanges(_matters)
        self._news = asyncio.Event()
        self._known = False
        self._said = SaidOnce(log)
        self._accesses = Informer(client, SERVICEACCOUNTACCESSES, self._on_access)
        self._service_accounts = Informer(client, SERVICEACCOUNTS, self._on_anything)
        self._roles = [Informer(client, kind, self._on_anything) for kind in (_ROLES, _CLUSTER_ROLES)]
        self._role_bindings = Informer(client, _ROLE_BINDINGS, self._on_anything)
        self._cluster_role_bindings = Informer(client, _CLUSTER_ROLE_BINDINGS, self._on_anything)

    def look_again(self) -> None:
        """The accounts may be others now."""
        self._news.set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep them current. Nobody waits for it: a cluster without KubeEdge's kinds works without them."""
        informers = (
            *self._roles, self._role_bindings, self._cluster_role_bindings, self._service_accounts, self._accesses,
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            for informer in informers:
                group.create_task(informer.run(), name=f"informer {informer.kind.plural}")
            await asyncio.sleep(0)
            ready()
            for informer in informers:
                await informer.wait_synced()
            self._known = True
            await self._keep_current()

    async def _keep_current(self) -> None:
        backoff = Backoff(first=1.0, limit=60.0)
        while True:
            self._news.clear()
            try:
                await self._reconcile()
                self._said.over("service accounts' rights", "nodes are told again")
                backoff.reset()
            except (ApiError, TransportError, MessageError) as error:
                self._said.trouble("service accounts' rights", f"{error}; nodes keep what they were told")
                await self._patience(backoff.next())
            await self._news.wait()
            await asyncio.sleep(_MOMENT)

    async def _patience(self, seconds: float) -> None:
        """Until it is time to try again; other changes need not wait for that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()
        self._news.set()

    # ---- the objects -----------------------------------------------------------------------------------------------

    async def _reconcile(self) -> None:
        wanted = {place: nodes for place, nodes in self._accounts().items() if self._service_accounts.get(*place)}
        cluster = self._cluster()
        refused = ""
        for place, nodes in wanted.items():
            try:
                await self._write(place, spec(self._account(place), cluster), sorted(nodes))
            except (ApiError, MessageError) as error:  # an object that is refused must not hold up the others
                refused = refused or f"ServiceAccountAccess {'/'.join(place)} cannot be written: {error}"
        for raw in self._accesses.all():
            meta = view(raw).metadata
            if (meta.namespace, meta.name) not in wanted:
                await self._delete(meta)
        before, self._nodes = self._nodes, wanted
        for place in before.keys() | wanted.keys():
            self._move(place, before.get(place, set()), wanted.get(place, set()))
        if refused:
            raise MessageError(refused)

    def _cluster(self) -> Cluster:
        roles = [_decode(raw, api.Role) for informer in self._roles for raw in informer.all()]
        return Cluster(
            {(role.metadata.namespace, role.metadata.name): role.rules or [] for role in roles},
            [_decode(raw, api.Binding) for raw in self._role_bindings.all()],
            [_decode(raw, api.Binding) for raw in self._cluster_role_bindings.all()],
        )

    def _account(self, place: Place) -> api.Named:
        entry = self._service_accounts.entry(*place)
        return api.Named(name=place[1], namespace=place[0], uid=entry.uid if entry is not None else "")

    async def _write(self, place: Place, wanted: api.AccessSpec, nodes: list[str]) -> None:
        namespace, name = place
        known = self._accesses.get(namespace, name)
        if known is None:
            head = {"kind": api.KIND, "apiVersion": api.API_VERSION, "metadata": {"name": name, "namespace": namespace}}
            body = msgspec.json.encode({**head, "spec": wanted})
            try:
                known = await self._client.create(SERVICEACCOUNTACCESSES, namespace, body)
            except ApiError as error:
                if error.code != 409:
                    raise
                known = await self._client.get(SERVICEACCOUNTACCESSES, namespace, name)
        access = api.read(known)
        if access.spec != wanted:
            absent = {"accessRoleBinding": None, "accessClusterRoleBinding": None}
            changed = msgspec.json.encode({"spec": {**absent, **msgspec.to_builtins(wanted)}})
            await self._client.patch(SERVICEACCOUNTACCESSES, namespace, name, changed)
        if (access.status.node_list or []) != nodes:
            where = msgspec.json.encode({"status": {"nodeList": nodes}})
            await self._client.patch(SERVICEACCOUNTACCESSES, namespace, name, where, sub="status")

    async def _delete(self, meta: ObjectMeta) -> None:
        options = msgspec.json.encode({"preconditions": {"uid": meta.uid}})
        try:
            await self._client.delete(SERVICEACCOUNTACCESSES, meta.namespace, meta.name, options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    # ---- the intent ------------------------------------------------------------------------------------------------

    def exists(self, node: str) -> bool:
        """Whether a pod of this node runs as an account; nodes themselves are EdgeController's."""
        return any(node in nodes for nodes in self._nodes.values())

    def tracks(self, kind: str) -> bool:
        """Whether objects of this resource type are known here."""
        return self._known and kind == api.ACCESS

    def live(self, resource: Resource) -> Live | None:
        """The object as it is now."""
        entry = self._entry(resource)
        return Live(entry.uid, entry.version) if entry is not None else None

    def wanted(self, node: str) -> Iterator[Wanted]:
        """The accounts of the node's pods."""
        for place in sorted(place for place, nodes in self._nodes.items() if node in nodes):
            resource = _resource(place)
            entry = self._entry(resource)
            if entry is not None:
                yield self._changes.want(resource, entry)

    def item(self, wanted: Wanted, *, first: bool) -> Item | None:
        """The item to offer for `wanted`."""
        entry = self._entry(wanted.resource)
        if entry is None or entry.uid != wanted.uid:
            return None
        kind: type[Payload] = ObjectInsert if first else ObjectUpdate
        body = splice(entry.raw, {"status": {}})
        payload = kind(resource=wanted.resource, body=body, version=str(entry.version))
        return Item(payload, entry.uid, self._changes.want(wanted.resource, entry).version)

    # ---- the events ------------------------------------------------------------------------------------------------

    def _on_anything(self, old: bytes | None, new: bytes | None) -> None:
        del old, new
        self._news.set()

    def _on_access(self, old: bytes | None, new: bytes | None) -> None:
        raw = new if new is not None else old or b"{}"
        meta = view(raw).metadata
        nodes = self._nodes.get((meta.namespace, meta.name), set())
        if new is None:
            self._changes.forget(meta.uid)
            for node in nodes:
                self._remove(node, raw)
            self._news.set()
        elif self._changes.note(old, new):
            for node in nodes:
                self._offer(node, (meta.namespace, meta.name), first=old is None)
            self._news.set()

    def _move(self, place: Place, before: Set[str], now: Set[str]) -> None:
        for node in now - before:
            self._offer(node, place, first=True)
        raw = self._accesses.get(*place)
        if raw is not None:
            for node in before - now:
                self._remove(node, raw)

    def _offer(self, node: str, place: Place, *, first: bool) -> None:
        resource = _resource(place)
        entry = self._entry(resource)
        if entry is not None and node in self._downlink.connected:
            item = self.item(self._changes.want(resource, entry), first=first)
            if item is not None:
                self._downlink.offer(node, item)

    def _remove(self, node: str, last: bytes) -> None:
        if node in self._downlink.connected:
            meta = view(last).metadata
            resource = _resource((meta.namespace, meta.name))
            payload = ObjectDelete(resource=resource, body=last, version=meta.resource_version)
            self._downlink.offer(node, Item(payload, meta.uid, meta.version, deletes=True))

    def _entry(self, resource: Resource) -> Entry | None:
        return self._accesses.entry(resource.namespace, resource.name) if resource.type == api.ACCESS else None


def _matters(old: bytes, new: bytes) -> bool:
    return api.read(old).spec != api.read(new).spec


def _resource(place: Place) -> Resource:
    return Resource(place[0], api.ACCESS, place[1])


def _decode(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"an object of RBAC cannot be read: {error}") from error
