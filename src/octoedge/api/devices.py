"""devices.kubeedge.io/v1beta1: what decisions look at in DeviceModels, Devices and DeviceStatuses.

    bytes ──device(…)──► read-only view          DeviceStatusBody ──msgspec.json.encode──► bytes

Values are text everywhere, as in KubeEdge; cycles are milliseconds. Settings that only a mapper knows stay plain JSON.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from octoedge.api.meta import ObjectMeta
from octoedge.errors import MessageError

GROUP = "devices.kubeedge.io"
VERSION = "v1beta1"
API_VERSION = f"{GROUP}/{VERSION}"

DEVICE = "device"
"""Resource type of a Device on the wire."""
MODEL = "devicemodel"


class _View(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A read-only view; null means the same as leaving a field out."""


class TwinProperty(_View, frozen=True):
    """A value, and what is known of it (`timestamp` in ms as text, `type`)."""

    value: str = ""
    metadata: dict[str, str] | None = None


class ProtocolSettings(_View, frozen=True):
    """ProtocolConfig and VisitorConfig."""

    protocol_name: str = ""
    config_data: dict[str, Any] | None = None


class ModelProperty(_View, frozen=True):
    """A property that all devices of a model have."""

    name: str = ""
    description: str = ""
    type: str = ""
    """INT, FLOAT, DOUBLE, STRING, BOOLEAN, BYTES or STREAM."""
    access_mode: str = ""
    """ReadWrite or ReadOnly."""
    minimum: str = ""
    maximum: str = ""
    unit: str = ""
    visitors: ProtocolSettings | None = None


class DeviceModelSpec(_View, frozen=True):
    """What a model says."""

    properties: list[ModelProperty] | None = None
    protocol: str = ""
    protocol_config_data: dict[str, Any] | None = None


class DeviceModel(_View, frozen=True):
    """What devices of one make have in common."""

    metadata: ObjectMeta = ObjectMeta()
    spec: DeviceModelSpec = DeviceModelSpec()

    def property(self, name: str) -> ModelProperty | None:
        """The property of that name."""
        return next((p for p in self.spec.properties or () if p.name == name), None)


class DeviceProperty(_View, frozen=True):
    """A property of one device."""

    name: str = ""
    desired: TwinProperty = TwinProperty()
    visitors: ProtocolSettings = ProtocolSettings()
    report_cycle: int = 0
    collect_cycle: int = 0
    report_to_cloud: bool = False
    push_method: dict[str, Any] | None = None


class DeviceMethod(_View, frozen=True):
    """A named write operation."""

    name: str = ""
    description: str = ""
    property_names: list[str] | None = None


class StateReport(_View, frozen=True):
    """Whether, and every how many milliseconds, the mapper says that the device is there."""

    report_to_cloud: bool = False
    report_cycle: int = 0


class ModelReference(_View, frozen=True):
    """A model in the device's namespace."""

    name: str = ""


class DeviceSpec(_View, frozen=True):
    """What a device should be."""

    device_model_ref: ModelReference | None = None
    node_name: str = ""
    properties: list[DeviceProperty] | None = None
    protocol: ProtocolSettings = ProtocolSettings()
    methods: list[DeviceMethod] | None = None
    state_report: StateReport | None = None


class Device(_View, frozen=True):
    """One device. `status` is where KubeEdge before 1.23 kept what `state_report` says now."""

    metadata: ObjectMeta = ObjectMeta()
    spec: DeviceSpec = DeviceSpec()
    status: StateReport | None = None

    @property
    def id(self) -> str:
        """Its name on the edge: namespace and name."""
        return f"{self.metadata.namespace}/{self.metadata.name}"

    @property
    def model_name(self) -> str:
        """Name of its model, in the same namespace; empty when it has none."""
        return self.spec.device_model_ref.name if self.spec.device_model_ref else ""

    @property
    def telemetry(self) -> frozenset[str]:
        """Names of properties of which every value is kept in the cloud; `*` stands for all that are reported."""
        names = (self.metadata.annotations or {}).get(TELEMETRY, "")
        return frozenset(filter(None, map(str.strip, names.split(","))))

    @property
    def reports_state(self) -> StateReport:
        """How the mapper is to report whether the device is there."""
        return self.spec.state_report or self.status or StateReport()


TELEMETRY = "octoedge.io/telemetry"
"""Annotation of a Device: names of properties, with commas between, or `*`: every value of theirs is kept."""


class ReportedTwin(msgspec.Struct, frozen=True, rename="camel"):
    """One property in a DeviceStatus."""

    property_name: str
    reported: TwinProperty = TwinProperty()
    observed_desired: TwinProperty = TwinProperty()


class DeviceStatusBody(_View, frozen=True):
    """`status` of a DeviceStatus."""

    twins: list[ReportedTwin] | None = None
    state: str = ""
    last_online_time: str = ""


class DeviceStatus(_View, frozen=True):
    """What is known of a device; it has the device's namespace and name."""

    metadata: ObjectMeta = ObjectMeta()
    status: DeviceStatusBody = DeviceStatusBody()


V = TypeVar("V", Device, DeviceModel, DeviceStatus)


def read(obj: bytes, kind: type[V]) -> V:
    """The view of an object; `MessageError` that names the field when it is none."""
    try:
        return msgspec.json.decode(obj, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not a {kind.__name__}: {error}") from error
