"""A device that is not there, for the conformance kit."""

from __future__ import annotations

from octoedge.mappers.kit.rig import Point, Rig


class VirtualRig(Rig, protocol="virtual"):
    """A counter, and a note that is kept; nothing can spoil what is in the mapper's own process."""

    points = (
        Point("ticks", "INT", {"kind": "counter"}),
        Point("level", "INT", {"kind": "store"}, True, "0", "100", ("5", "6")),
    )
