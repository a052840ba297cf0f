"""The two services of DMI: what EdgeCore serves to mappers, and what each mapper serves to EdgeCore.

A table says for each method its request and its reply. `methods` turns the object that does the work into what
`transport.grpc_server` serves; `call` makes a call typed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from octoedge.dmi import messages as m
from octoedge.dmi.messages import CODEC
from octoedge.protocol.protobuf import Message
from octoedge.transport.grpc import Channel


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC; all are unary."""

    path: str
    request: type[Message]
    reply: type[Message]


def _methods(service: str, table: Mapping[str, tuple[type[Message], type[Message]]]) -> dict[str, Method]:
    return {name: Method(f"/v1beta1.{service}/{name}", *kinds) for name, kinds in table.items()}


MANAGER = _methods(
    "DeviceManagerService",
    {
        "MapperRegister": (m.MapperRegisterRequest, m.MapperRegisterResponse),
        "ReportDeviceStatus": (m.ReportDeviceStatusRequest, m.Empty),
        "ReportDeviceStates": (m.ReportDeviceStatesRequest, m.Empty),
    },
)
"""EdgeCore serves these on `dmi.sock`."""

MAPPER = _methods(
    "DeviceMapperService",
    {
        "RegisterDevice": (m.DeviceRequest, m.Named),
        "RemoveDevice": (m.Named, m.Empty),
        "UpdateDevice": (m.DeviceRequest, m.Empty),
        "CreateDeviceModel": (m.ModelRequest, m.Named),
        "RemoveDeviceModel": (m.Named, m.Empty),
        "UpdateDeviceModel": (m.ModelRequest, m.Empty),
        "GetDevice": (m.Named, m.DeviceRequest),
    },
)
"""A mapper serves these on the socket that it registers with."""


class DeviceManager(Protocol):
    """EdgeCore, as mappers see it."""

    async def mapper_register(self, request: m.MapperRegisterRequest) -> m.MapperRegisterResponse:
        """A mapper is there."""
        ...

    async def report_device_status(self, request: m.ReportDeviceStatusRequest) -> m.Empty:
        """Values of a device; stored when this returns."""
        ...

    async def report_device_states(self, request: m.ReportDeviceStatesRequest) -> m.Empty:
        """Whether a device can be reached; stored when this returns."""
        ...


class DeviceMapper(Protocol):
    """A mapper, as EdgeCore sees it."""

    async def register_device(self, request: m.DeviceRequest) -> m.Named:
        """A device is new."""
        ...

    async def remove_device(self, request: m.Named) -> m.Empty:
        """A device is gone."""
        ...

    async def update_device(self, request: m.DeviceRequest) -> m.Empty:
        """A device changed, a desired value perhaps."""
        ...

    async def create_device_model(self, request: m.ModelRequest) -> m.Named:
        """A model is new."""
        ...

    async def remove_device_model(self, request: m.Named) -> m.Empty:
        """A model is gone."""
        ...

    async def update_device_model(self, request: m.ModelRequest) -> m.Empty:
        """A model changed."""
        ...

    async def get_device(self, request: m.Named) -> m.DeviceRequest:
        """A device as the mapper has it."""
        ...


def manager_methods(manager: DeviceManager) -> dict[str, Callable[[bytes], Awaitable[bytes]]]:
    """What EdgeCore serves."""
    return _served(
        MANAGER,
        {
            "MapperRegister": manager.mapper_register,
            "ReportDeviceStatus": manager.report_device_status,
            "ReportDeviceStates": manager.report_device_states,
        },
    )


def mapper_methods(mapper: DeviceMapper) -> dict[str, Callable[[bytes], Awaitable[bytes]]]:
    """What a mapper serves."""
    return _served(
        MAPPER,
        {
            "RegisterDevice": mapper.register_device,
            "RemoveDevice": mapper.remove_device,
            "UpdateDevice": mapper.update_device,
            "CreateDeviceModel": mapper.create_device_model,
            "RemoveDeviceModel": mapper.remove_device_model,
            "UpdateDeviceModel": mapper.update_device_model,
            "GetDevice": mapper.get_device,
        },
    )


async def call(channel: Channel, method: Method, request: Message, timeout: float) -> Any:
    """One call, within `timeout` seconds; the reply is of `method.reply`.

    Raises `GrpcError` with what the other side answered, `DeadlineError`, `ConnectError`, `ConnectionClosed`, and
    `MessageError` when the reply cannot be read.
    """
    reply = await channel.unary(method.path, CODEC.encode(request, method.request), timeout)
    return CODEC.decode(reply, method.reply)


def _served(
    table: Mapping[str, Method], handlers: Mapping[str, Callable[[Any], Awaitable[Message]]]
) -> dict[str, Callable[[bytes], Awaitable[bytes]]]:
    return {method.path: _typed(method, handlers[name]) for name, method in table.items()}


def _typed(method: Method, handler: Callable[[Any], Awaitable[Message]]) -> Callable[[bytes], Awaitable[bytes]]:
    async def serve(data: bytes) -> bytes:
        return CODEC.encode(await handler(CODEC.decode(data, method.request)), method.reply)

    return serve
