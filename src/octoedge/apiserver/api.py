"""The API as a function from request to response: who asks, may he, and which handler answers.

request → authorize → discovery, OpenAPI, health     (paths that are no resources)
                    → read (get, list, watch)        ┐
                    → write (create … delete)        ├ by (method, object or collection, subresource)
                    → subresources                   ┘
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from octoedge.apiserver.access.authorization import VERBS, Attributes, Authorizer, refusal
from octoedge.apiserver.access.rbac.escalation import Guard
from octoedge.apiserver.access.reviews import Reviews
from octoedge.apiserver.access.tokens import ISSUER, Tokens
from octoedge.apiserver.behaviours.behaviour import behaviour_of, behaviour_of_custom, no_warnings
from octoedge.apiserver.behaviours.scale import Scales
from octoedge.apiserver.behaviours.subresources import Subresources
from octoedge.apiserver.discovery import Discovery, version
from octoedge.apiserver.kinds import Kind, Kinds
from octoedge.apiserver.nodes.metrics import Metrics
from octoedge.apiserver.nodes.streams import CONNECTS
from octoedge.apiserver.printing.tables import ConvertingRenderer, PartialRenderer, TableRenderer
from octoedge.apiserver.schema.bodies import Bodies, Findings, expect_object
from octoedge.apiserver.schema.descriptions import Descriptions
from octoedge.apiserver.schema.openapi import OpenApi
from octoedge.apiserver.serving.health import Health
from octoedge.apiserver.serving.negotiation import PARTIAL, TABLES, Form, negotiate
from octoedge.apiserver.serving.requests import Answer, Pieces, Request, Response, Stream, User, json_answer, success
from octoedge.apiserver.store.backend import Backend, View
from octoedge.apiserver.writing.deletion import DeleteOptions, Deletion
from octoedge.apiserver.writing.rest import Place, Rest
from octoedge.errors import ApiError, bad_request
from octoedge.kube.pages import Held, page
from octoedge.kube.read import (
    Item,
    PlainRenderer,
    ReadOptions,
    Renderer,
    Target,
    Watch,
    bookmark_frame,
    flag,
    list_pieces,
    parse_path,
    read_options,
)
from octoedge.kube.selector import parse_fields
from octoedge.runtime.clock import Clock

Json = dict[str, Any]
Handler = Callable[[Request, Place], Awaitable[Response]]

MAX_TOGETHER = 64
"""Pieces of a response that are put together before it is sent."""
PARTS = ("status", "approval", "ephemeralcontainers")
"""Subresources that are read and written as the whole object."""


class Api:
    """Answers every request."""

    def __init__(
        self,
        backend: Backend,
        kinds: Kinds,
        bodies: Bodies,
        rest: Rest,
        deletion: Deletion,
        subresources: Subresources,
        metrics: Metrics,
        reviews: Reviews,
        authorizer: Authorizer,
        guards: Callable[[User, Target], Guard | None],
        tokens: Tokens,
        clock: Clock,
        address: str,
        actions: Mapping[str, Callable[[], Awaitable[Answer]]],
        health: Health,
    ) -> None:
        self._backend = backend
        self._kinds = kinds
        self._bodies = bodies
        self._rest = rest
        self._deletion = deletion
        self._metrics = metrics
        self._reviews = reviews
        self._authorizer = authorizer
        self._guards = guards
        self._clock = clock
        self._health = health
        self._actions = actions
        self._held = Held()
        self._discovery = Discovery(kinds, address)
        self._openapi = OpenApi(kinds, bodies.schema, Descriptions())
        self._plain_paths: dict[str, Callable[[], Answer]] = {
            "/version": version,
            "/openid/v1/jwks": lambda: json_answer(tokens.keys()),
            "/.well-known/openid-configuration": lambda: json_answer(_openid(tokens)),
            "": lambda: json_answer({"paths": ["/api", "/apis", "/healthz", "/livez", "/openapi/v3", "/version"]}),
        }
        self._objects: dict[str, Handler] = {
            "get": self._get,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
        }
        self._collections: dict[str, Handler] = {
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "deletecollection": self._delete_collection,
        }
        self._subresources: dict[tuple[str, str], Handler] = {
            **{(part, verb): self._objects[verb] for part in PARTS for verb in ("get", "update", "patch")},
            **subresources.handlers(),
            **Scales(rest, bodies).handlers(),
        }

    async def handle(self, request: Request) -> Response:
        """The response; `ApiError` for everything that fails."""
        target = parse_path(request.path)
        if target is None:
            return await self._plain(request)
        kind = self._kinds.at(target.group, target.version, target.resource)
        verb = _verb(request, target)
        self._authorize(request, target, verb)
        guard = self._guard(request, target, verb)
        if kind is None or kind.namespaced < bool(target.namespace):
            raise _no_such_path()
        handler = self._handler(kind, target, verb)
        response = await handler(request, Place(kind, target.namespace, target.name, target.subresource, guard))
        if kind.custom is not None and kind.custom.warning and isinstance(response, Answer):
            return _with_warning(response, kind.custom.warning)
        return response

    async def _plain(self, request: Request) -> Response:
        asked = Attributes(VERBS.get(request.method, request.method.lower()), path=request.path)
        decision = self._authorizer.decide(request.user, asked)
        if not decision.allowed:
            raise refusal(request.user, asked, decision.reason)
        path = request.path.rstrip("/")
        if asked.verb == "create" and path in self._actions:
            return await self._actions[path]()
        if asked.verb != "get":
            raise _not_allowed()
        plain = self._plain_paths.get(path)
        found = (
            plain()
            if plain
            else self._health.answer(request) or self._discovery.answer(request) or self._openapi.answer(request)
        )
        if found is None:
            raise _no_such_path()
        return found

    def _authorize(self, request: Request, target: Target, verb: str) -> None:
        asked = _attributes(request, target, verb)
        decision = self._authorizer.decide(request.user, asked)
        if not decision.allowed:
            raise refusal(request.user, asked, decision.reason)

    def _guard(self, request: Request, target: Target, verb: str) -> Guard | None:
        """What is looked at when an object is stored; a patch that makes the object is a creation too."""
        guard = self._guards(request.user, target)
        if verb != "patch":
            return guard

        def look(new: Json, old: Json | None) -> None:
            if old is None:
                self._authorize(request, target, "create")
            if guard is not None:
                guard(new, old)

        return look

    def _handler(self, kind: Kind, target: Target, verb: str) -> Handler:
        if kind.namespaced and not target.namespace and (target.name or verb in ("create", "deletecollection")):
            raise _no_such_path() if target.name else _not_allowed()
        if target.subresource:
            if kind.subresource(target.subresource) is None or (target.rest and target.subresource != "proxy"):
                raise _no_such_path()
            handler = self._subresources.get((target.subresource, verb))
        elif kind.measured:
            handler = self._metrics.handler(kind.plural, verb)
        elif not kind.stored:
            handler = self._review if verb == "create" and not target.name else None
        else:
            handler = (self._objects if target.name else self._collections).get(verb)
        if handler is None:
            raise _not_allowed()
        return handler

    async def _get(self, request: Request, place: Place) -> Response:
        item = self._backend.get(place.kind.resource, place.namespace, place.name)
        if item is None:
            raise place.missing()
        return self._one(request, place.kind, item)

    async def _list(self, request: Request, place: Place) -> Response:
        options = _options(request, place.kind)
        form = _form(request)
        part = page(self._backend, place.kind.resource, place.namespace, options, self._held)
        if _is_converted(place.kind, form):
            part = replace(part, items=[place.kind.shown(item) for item in part.items])
        renderer = self._plain_renderer(request, place.kind, form)
        if isinstance(renderer, PlainRenderer):
            return _pieces(list_pieces(place.kind.list_kind.removesuffix("List"), place.kind.api_version, part))
        assert isinstance(renderer, TableRenderer | PartialRenderer)
        return Answer(renderer.page(part), content_type=form.content_type)

    async def _watch(self, request: Request, place: Place) -> Response:
        options, kind = _options(request, place.kind), place.kind
        form = _form(request)
        renderer = self._renderer(request, kind, form)

        def bookmark(version: int, end_of_initial: bool) -> bytes:
            return bookmark_frame(kind.kind, kind.api_version, version, end_of_initial=end_of_initial)

        watch = Watch(self._backend, kind.resource, place.namespace, options, renderer, bookmark)
        return Stream(watch.open(), form.content_type, shortcut=watch.shortcut)

    async def _create(self, request: Request, place: Place) -> Response:
        found = Findings()
        obj = self._object(request, place.kind, found)
        item = await self._rest.create(place, obj, request.query)
        return self._one(request, place.kind, item, 201, found)

    async def _update(self, request: Request, place: Place) -> Response:
        found = Findings()
        obj = self._object(request, place.kind, found)
        return self._one(request, place.kind, await self._rest.update(place, obj, request.query), 200, found)

    async def _patch(self, request: Request, place: Place) -> Response:
        found = Findings()
        media_type = request.headers.get("Content-Type", "")
        made: list[bool] = []

        def look(new: dict[str, Any], old: dict[str, Any] | None) -> None:
            made.append(old is None)
            if place.guard is not None:
                place.guard(new, old)

        item = await self._rest.patch(replace(place, guard=look), media_type, request.body, request.query, found)
        return self._one(request, place.kind, item, 201 if made and made[-1] else 200, found)

    async def _delete(self, request: Request, place: Place) -> Response:
        deleted = await self._deletion.delete(place, self._delete_options(request))
        if not deleted.gone or place.kind.resource == "pods":
            return self._one(request, place.kind, deleted.item)
        uid = msgspec.json.decode(deleted.item.data)["metadata"]["uid"]
        details = {"name": place.name, "kind": place.kind.plural, "uid": uid}
        return json_answer(success({**details, **({"group": place.kind.group} if place.kind.group else {})}))

    async def _delete_collection(self, request: Request, place: Place) -> Response:
        options = _options(request, place.kind)
        items = await self._deletion.delete_collection(place, options, self._delete_options(request))
        metadata = {"resourceVersion": str(self._backend.version)}
        head = {"kind": f"{place.kind.kind}List", "apiVersion": place.kind.api_version, "metadata": metadata}
        return json_answer({**head, "items": [msgspec.Raw(item.data) for item in items]})

    async def _review(self, request: Request, place: Place) -> Response:
        found = Findings()
        obj = self._object(request, place.kind, found)
        return json_answer(self._reviews.answer(place.kind.plural, obj, request.user, place.namespace), 201)

    def _object(self, request: Request, kind: Kind, found: Findings) -> Json:
        media_type = request.headers.get("Content-Type", "")
        return self._bodies.object(kind, request.body, media_type, request.query, found)

    def _delete_options(self, request: Request) -> DeleteOptions:
        if not request.body.strip():
            return DeleteOptions.of({}, request.query)
        value = self._bodies.decode(request.body, request.headers.get("Content-Type", ""))
        expect_object(value)
        if value.get("kind") not in (None, "", "DeleteOptions"):
            raise bad_request(f"the body of a deletion must be DeleteOptions, not {value['kind']}")
        return DeleteOptions.of(self._bodies.typed("", "v1", "DeleteOptions", value), request.query)

    def _one(self, request: Request, kind: Kind, item: Item, code: int = 200, found: Findings | None = None) -> Answer:
        form = _form(request)
        if found is not None:
            found.warnings += self._warnings(kind, item)
        headers = _warning_headers(found)
        body = self._renderer(request, kind, form).one(item)
        return Answer(body, code, form.content_type, headers)

    def _warnings(self, kind: Kind, item: Item) -> list[str]:
        obj = functools.partial(msgspec.json.decode, item.data)
        if kind.custom is not None:
            beside = behaviour_of_custom(kind.resource).warnings_beside
            return beside(obj(), View(self._backend)) if beside is not None else []
        warn = behaviour_of(kind.resource).warnings
        return warn(obj()) if warn is not no_warnings else []

    def _renderer(self, request: Request, kind: Kind, form: Form) -> Renderer:
        plain = self._plain_renderer(request, kind, form)
        return ConvertingRenderer(kind, plain) if _is_converted(kind, form) else plain

    def _plain_renderer(self, request: Request, kind: Kind, form: Form) -> Renderer:
        if form.as_kind == "Table":
            return TableRenderer(kind, form.version, request.query.get("includeObject") or "Metadata", self._clock)
        if form.as_kind:
            return PartialRenderer(form.version)
        return PlainRenderer()


def _verb(request: Request, target: Target) -> str:
    """The verb in Kubernetes' sense."""
    if request.method not in VERBS:
        raise _not_allowed()
    verb = VERBS[request.method]
    if target.subresource in CONNECTS and verb == "get":
        return "create"
    if target.name:
        return verb
    if verb == "get":
        return "watch" if flag(request.query, "watch") else "list"
    return "deletecollection" if verb == "delete" else verb


def _attributes(request: Request, target: Target, verb: str) -> Attributes:
    namespace = target.name if target.resource == "namespaces" else target.namespace
    name, node = target.name, ""
    if verb in ("list", "watch", "deletecollection") and "fieldSelector" in request.query:
        fields = parse_fields(request.query["fieldSelector"])
        # One object by its name is that object, for rules that name objects.
        name, node = fields.exactly("metadata.name") or "", fields.exactly("spec.nodeName") or ""
    return Attributes(verb, request.path, target.group, target.resource, target.subresource, namespace, name, node)


def _pieces(pieces: list[bytes]) -> Answer | Pieces:
    return Pieces(pieces, sum(map(len, pieces))) if len(pieces) > MAX_TOGETHER else Answer(b"".join(pieces))


def _is_converted(kind: Kind, form: Form) -> bool:
    """Whether objects are rendered in another version than they are kept in; columns know that of what is kept."""
    return kind.converts and not (kind.kept_as and form.as_kind == "Table")


def _form(request: Request) -> Form:
    return negotiate(request.headers.get("Accept", ""), (*TABLES, *PARTIAL))


def _options(request: Request, kind: Kind) -> ReadOptions:
    options = read_options(request.query)
    for name in options.fields.keys():  # noqa: SIM118 (a method, not a dict)
        if name not in ("metadata.name", "metadata.namespace", *kind.fields):
            raise bad_request(f"field label not supported: {name}")
    return options


def _warning_headers(found: Findings | None) -> Mapping[str, str]:
    if found is None or not found.warnings:
        return {}
    texts = [text.replace("\\", "").replace('"', '\\"') for text in found.warnings]
    return {"Warning": ", ".join(f'299 - "{text}"' for text in texts)}


def _with_warning(answer: Answer, text: str) -> Answer:
    """The answer with one more warning."""
    said = _warning_headers(Findings([text]))["Warning"]
    before = answer.headers.get("Warning")
    return replace(answer, headers={**answer.headers, "Warning": f"{before}, {said}" if before else said})


def _no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource")


def _not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")


def _openid(tokens: Tokens) -> Json:
    return {
        "issuer": tokens.issuer,
        "jwks_uri": f"{ISSUER}/openid/v1/jwks",
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [tokens.algorithm],
    }
