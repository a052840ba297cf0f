"""The Accept header: which of the forms that we have does the client want first?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octoedge.errors import ApiError

MAX_ACCEPT = 8192


@dataclass(frozen=True, slots=True)
class Form:
    """A form of an answer: plain JSON, or an object converted `as` a kind of a group and version."""

    as_kind: str = ""
    group: str = ""
    version: str = ""

    @property
    def content_type(self) -> str:
        """The media type that names the form."""
        if not self.as_kind:
            return "application/json"
        return f"application/json;g={self.group};v={self.version};as={self.as_kind}"


PLAIN = Form()
TABLES = (Form("Table", "meta.k8s.io", "v1"), Form("Table", "meta.k8s.io", "v1beta1"))
DISCOVERIES = (
    Form("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2"),
    Form("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1"),
)
PARTIAL = tuple(
    Form(kind, "meta.k8s.io", version)
    for kind in ("PartialObjectMetadata", "PartialObjectMetadataList")
    for version in ("v1", "v1beta1")
)


def negotiate(accept: str, offers: Sequence[Form] = ()) -> Form:
    """The first form in the header that is offered; plain JSON always is. 406 when the client takes neither."""
    if not accept.strip():
        return PLAIN
    for part in accept[:MAX_ACCEPT].split(","):
        media_type, *words = (word.strip() for word in part.split(";"))
        if media_type not in ("application/json", "*/*", "application/*"):
            continue
        parameters = dict(word.split("=", 1) for word in words if "=" in word)
        wanted = Form(parameters.get("as", ""), parameters.get("g", ""), parameters.get("v", ""))
        if not wanted.as_kind:
            return PLAIN
        if wanted in offers:
            return wanted
    raise ApiError(
        406,
        "NotAcceptable",
        "only the following media types are accepted: application/json, application/json;stream=watch",
    )
