"""The conformance kit: `octoedge-mapper test FILE` runs a mapper as a process between an EdgeCore and a device of ours,
spoils the device in every way that devices fail, and says what the mapper made of it.

    rig (a device that can be spoilt) ◄── the mapper, a process ──► edge (takes what is reported)
                 ▲                                                    │
                 └──────────────── checks ◄───────────────────────────┘

`rig` is what authors give: a subclass of `Rig` in the mapper's file, or one that a package offers by the entry point
group `octoedge.rigs`, by protocol; the protocols in the box use the same door.
"""

from octoedge.mappers.kit.rig import Point, Rig, TcpRig

__all__ = ["Point", "Rig", "TcpRig"]
