"""The messages of DMI v1beta1, each with its table of public field numbers (KubeEdge's `v1beta1` DMI API).

Go mappers read nested messages without looking whether they are there, so the ones that they need (`protocol`,
`desired`, `visitors`, `status` …) are never None here and are always written.
"""

# ruff: noqa: RUF012  (msgspec gives every object a fresh copy of an empty default)

from __future__ import annotations

from typing import ClassVar

from octoedge.protocol.protobuf import Codec, Message


class AnyValue(Message, frozen=True):
    """google.protobuf.Any"""

    type_url: str = ""
    value: bytes = b""
    WIRE: ClassVar[str] = "type_url:1:s value:2:y"


class Setting(Message, frozen=True):
    """One entry of a map from text to Any."""

    key: str = ""
    value: AnyValue = AnyValue()
    WIRE: ClassVar[str] = "key:1:s value:2:AnyValue"


class Settings(Message, frozen=True):
    """CustomizedValue and AnomalyDetection: settings that only the mapper knows."""

    data: tuple[Setting, ...] = ()
    WIRE: ClassVar[str] = "data:1:*Setting"


class ProtocolSettings(Message, frozen=True):
    """ProtocolConfig and VisitorConfig."""

    protocol_name: str = ""
    config_data: Settings = Settings()
    WIRE: ClassVar[str] = "protocol_name:1:s config_data:2:Settings"


class MapperInfo(Message, frozen=True):
    """A mapper, as it registers."""

    name: str = ""
    version: str = ""
    api_version: str = ""
    protocol: str = ""
    address: bytes = b""
    """Path of the unix socket that the mapper serves, bare."""
    state: str = ""
    WIRE: ClassVar[str] = "name:1:s version:2:s api_version:3:s protocol:4:s address:5:y state:6:s"


class ModelProperty(Message, frozen=True):
    """A property that all devices of a model have."""

    name: str = ""
    description: str = ""
    type: str = ""
    access_mode: str = ""
    minimum: str = ""
    maximum: str = ""
    unit: str = ""
    WIRE: ClassVar[str] = "name:1:s description:2:s type:3:s access_mode:4:s minimum:5:s maximum:6:s unit:7:s"


class DeviceCommand(Message, frozen=True):
    """Part of the API; nobody fills it."""

    name: str = ""
    url: str = ""
    method: str = ""
    status_code: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    response: bytes = b""
    WIRE: ClassVar[str] = "name:1:s url:2:s method:3:s status_code:4:*s parameters:5:*s response:6:y"


class DeviceModelSpec(Message, frozen=True):
    """What a model says."""

    properties: tuple[ModelProperty, ...] = ()
    commands: tuple[DeviceCommand, ...] = ()
    WIRE: ClassVar[str] = "properties:1:*ModelProperty commands:2:*DeviceCommand"


class DeviceModel(Message, frozen=True):
    """A DeviceModel."""

    name: str = ""
    spec: DeviceModelSpec = DeviceModelSpec()
    namespace: str = ""
    WIRE: ClassVar[str] = "name:1:s spec:2:DeviceModelSpec namespace:3:s"


class TwinProperty(Message, frozen=True):
    """A value and what is known of it (`timestamp` in ms as text, `type`)."""

    value: str = ""
    metadata: dict[str, str] = {}
    WIRE: ClassVar[str] = "value:1:s metadata:2:M"


class PushHttp(Message, frozen=True):
    """PushMethodHTTP"""

    hostname: str = ""
    port: int = 0
    requestpath: str = ""
    timeout: int = 0
    WIRE: ClassVar[str] = "hostname:1:s port:2:i requestpath:3:s timeout:4:i"


class PushMqtt(Message, frozen=True):
    """PushMethodMQTT"""

    address: str = ""
    topic: str = ""
    qos: int = 0
    retained: bool = False
    WIRE: ClassVar[str] = "address:1:s topic:2:s qos:3:i retained:4:b"


class PushOtel(Message, frozen=True):
    """PushMethodOTEL"""

    endpoint_url: str = ""
    WIRE: ClassVar[str] = "endpoint_url:1:s"


class Influxdb2Client(Message, frozen=True):
    """Influxdb2ClientConfig"""

    url: str = ""
    org: str = ""
    bucket: str = ""
    WIRE: ClassVar[str] = "url:1:s org:2:s bucket:3:s"


class Influxdb2Data(Message, frozen=True):
    """Influxdb2DataConfig"""

    measurement: str = ""
    tag: dict[str, str] = {}
    field_key: str = ""
    WIRE: ClassVar[str] = "measurement:1:s tag:2:M field_key:3:s"


class Influxdb2(Message, frozen=True):
    """DBMethodInfluxdb2"""

    client: Influxdb2Client = Influxdb2Client()
    data: Influxdb2Data = Influxdb2Data()
    WIRE: ClassVar[str] = "client:1:Influxdb2Client data:2:Influxdb2Data"


class RedisClient(Message, frozen=True):
    """RedisClientConfig"""

    addr: str = ""
    db: int = 0
    poolsize: int = 0
    min_idle_conns: int = 0
    WIRE: ClassVar[str] = "addr:1:s db:2:i poolsize:3:i min_idle_conns:4:i"


class Redis(Message, frozen=True):
    """DBMethodRedis"""

    client: RedisClient = RedisClient()
    WIRE: ClassVar[str] = "client:1:RedisClient"


class TdEngineClient(Message, frozen=True):
    """TDEngineClientConfig"""

    addr: str = ""
    dbname: str = ""
    WIRE: ClassVar[str] = "addr:1:s dbname:2:s"


class TdEngine(Message, frozen=True):
    """DBMethodTDEngine"""

    client: TdEngineClient = TdEngineClient()
    WIRE: ClassVar[str] = "client:1:TdEngineClient"


class MySqlClient(Message, frozen=True):
    """MySQLClientConfig"""

    addr: str = ""
    database: str = ""
    user_name: str = ""
    WIRE: ClassVar[str] = "addr:1:s database:2:s user_name:3:s"


class MySql(Message, frozen=True):
    """DBMethodMySQL"""

    client: MySqlClient = MySqlClient()
    WIRE: ClassVar[str] = "client:1:MySqlClient"


class PushDatabase(Message, frozen=True):
    """DBMethod"""

    influxdb2: Influxdb2 | None = None
    redis: Redis | None = None
    tdengine: TdEngine | None = None
    mysql: MySql | None = None
    WIRE: ClassVar[str] = "influxdb2:1:Influxdb2 redis:2:Redis tdengine:3:TdEngine mysql:4:MySql"


class PushMethod(Message, frozen=True):
    """Where the mapper itself sends a property's values, past EdgeCore."""

    http: PushHttp | None = None
    mqtt: PushMqtt | None = None
    database: PushDatabase | None = None
    otel: PushOtel | None = None
    anomaly_detection: Settings | None = None
    WIRE: ClassVar[str] = "http:1:PushHttp mqtt:2:PushMqtt database:3:PushDatabase otel:4:PushOtel " + (
        "anomaly_detection:5:Settings"
    )


class DeviceProperty(Message, frozen=True):
    """A property of a device; cycles in milliseconds, 0 leaves them to the mapper."""

    name: str = ""
    desired: TwinProperty = TwinProperty()
    visitors: ProtocolSettings = ProtocolSettings()
    report_cycle: int = 0
    collect_cycle: int = 0
    report_to_cloud: bool = False
    push_method: PushMethod | None = None
    WIRE: ClassVar[str] = "name:1:s desired:2:TwinProperty visitors:3:ProtocolSettings report_cycle:4:i " + (
        "collect_cycle:5:i report_to_cloud:6:b push_method:7:PushMethod"
    )


class DeviceMethod(Message, frozen=True):
    """A named write operation of the mapper's REST API."""

    name: str = ""
    description: str = ""
    property_names: tuple[str, ...] = ()
    WIRE: ClassVar[str] = "name:1:s description:2:s property_names:3:*s"


class DeviceSpec(Message, frozen=True):
    """What a device should be."""

    model: str = ""
    protocol: ProtocolSettings = ProtocolSettings()
    properties: tuple[DeviceProperty, ...] = ()
    methods: tuple[DeviceMethod, ...] = ()
    WIRE: ClassVar[str] = "model:1:s protocol:2:ProtocolSettings properties:3:*DeviceProperty methods:4:*DeviceMethod"


class Twin(Message, frozen=True):
    """A property as the mapper saw it."""

    property_name: str = ""
    observed_desired: TwinProperty = TwinProperty()
    reported: TwinProperty = TwinProperty()
    WIRE: ClassVar[str] = "property_name:1:s observed_desired:2:TwinProperty reported:3:TwinProperty"


class DeviceStatus(Message, frozen=True):
    """Twins going up; going down, whether and how often (ms) the mapper says that the device is there."""

    twins: tuple[Twin, ...] = ()
    report_to_cloud: bool = False
    report_cycle: int = 0
    WIRE: ClassVar[str] = "twins:1:*Twin report_to_cloud:2:b report_cycle:3:i"


class Device(Message, frozen=True):
    """A Device."""

    name: str = ""
    spec: DeviceSpec = DeviceSpec()
    status: DeviceStatus = DeviceStatus()
    namespace: str = ""
    WIRE: ClassVar[str] = "name:1:s spec:2:DeviceSpec status:3:DeviceStatus namespace:4:s"


class Empty(Message, frozen=True):
    """An answer without fields."""


class MapperRegisterRequest(Message, frozen=True):
    """A mapper is there; `with_data`: it wants its models and devices."""

    with_data: bool = False
    mapper: MapperInfo = MapperInfo()
    WIRE: ClassVar[str] = "with_data:1:b mapper:2:MapperInfo"


class MapperRegisterResponse(Message, frozen=True):
    """All models and devices of the mapper's protocol."""

    models: tuple[DeviceModel, ...] = ()
    devices: tuple[Device, ...] = ()
    WIRE: ClassVar[str] = "models:1:*DeviceModel devices:2:*Device"


class ReportDeviceStatusRequest(Message, frozen=True):
    """Values that the mapper read."""

    device_name: str = ""
    reported: DeviceStatus | None = None
    device_namespace: str = ""
    WIRE: ClassVar[str] = "device_name:1:s reported:2:DeviceStatus device_namespace:3:s"


class ReportDeviceStatesRequest(Message, frozen=True):
    """Whether the device can be reached."""

    device_name: str = ""
    device_namespace: str = ""
    state: str = ""
    reason: str = ""
    """Why not. A field of our own, which KubeEdge's EdgeCore skips; its mappers leave it out."""
    WIRE: ClassVar[str] = "device_name:1:s device_namespace:2:s state:3:s reason:100:s"


class DeviceRequest(Message, frozen=True):
    """RegisterDeviceRequest, UpdateDeviceRequest and GetDeviceResponse."""

    device: Device = Device()
    WIRE: ClassVar[str] = "device:1:Device"


class ModelRequest(Message, frozen=True):
    """CreateDeviceModelRequest and UpdateDeviceModelRequest."""

    model: DeviceModel = DeviceModel()
    WIRE: ClassVar[str] = "model:1:DeviceModel"


class Named(Message, frozen=True):
    """RemoveDeviceRequest, GetDeviceRequest, RemoveDeviceModelRequest, and what creating either answers."""

    name: str = ""
    namespace: str = ""
    WIRE: ClassVar[str] = "name:1:s namespace:2:s"


MESSAGES: dict[str, type[Message]] = {
    kind.__name__: kind for kind in Message.__subclasses__() if kind.__module__ == __name__
}

CODEC = Codec(MESSAGES)
