"""Mappers: each brings the devices of one protocol to EdgeCore, over DMI.

    from octoedge.mappers import Mapper, read, write

A file with one subclass of `Mapper` is a whole mapper; `octoedge-mapper run FILE` runs it. `framework` is what all of
them are made of; a folder for each protocol in the box (`modbus`, `virtual` …), found by entry point as others' are;
`push` brings values to other servers; `kit` tests any mapper.
"""

from octoedge.errors import DeviceError, ValueRefused
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.keys import keys
from octoedge.mappers.framework.mapper import Mapper, read, write

__all__ = ["Device", "DeviceError", "Mapper", "Property", "ValueRefused", "keys", "read", "write"]
