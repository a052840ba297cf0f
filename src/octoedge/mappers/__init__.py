"""Mappers: each brings the devices of one protocol to EdgeCore, over DMI.

    from octoedge.mappers import Mapper, read, write

A file with one subclass of `Mapper` is a whole mapper; `octoedge-mapper run FILE` runs it. `device`, `values`,
`schedule` are pure; `work` is one device at work, `panel` all of them as EdgeCore tells of them, `edgecore` the way to
EdgeCore, `rest` the door for people and programs. Protocols (`modbus`, `virtual`) are found by entry point.
"""

from octoedge.errors import DeviceError, ValueRefused
from octoedge.mappers.device import Device, Property
from octoedge.mappers.mapper import Mapper, read, write

__all__ = ["Device", "DeviceError", "Mapper", "Property", "ValueRefused", "read", "write"]
