"""Devices that are not there, for trying things out: `link`."""

from octoedge.mappers.virtual.link import connect

__all__ = ["connect"]
