"""Devices and models as the API has them → as DMI has them. Pure.

What the device leaves open is filled in from its model: settings of the protocol, and how each property is read
(KubeEdge's rule: the model's protocol wins, the device's settings lie over the model's).
"""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.api import devices as api
from octoedge.dmi import messages as m
from octoedge.dmi.values import pack_all
from octoedge.errors import MessageError


def device(given: api.Device, model: api.DeviceModel, *, wide: bool) -> m.Device:
    """The message that tells a mapper of a device; `wide` as in `values.pack`.

    Raises `MessageError` that names the field which cannot be said.
    """
    spec = given.spec
    report = given.reports_state
    settings = {**(model.spec.protocol_config_data or {}), **(spec.protocol.config_data or {})}
    return m.Device(
        name=given.metadata.name,
        namespace=given.metadata.namespace,
        spec=m.DeviceSpec(
            model=given.model_name,
            protocol=_settings("spec.protocol", spec.protocol.protocol_name, settings, wide=wide),
            properties=tuple(_property(p, model.property(p.name), wide=wide) for p in spec.properties or ()),
            methods=tuple(
                m.DeviceMethod(x.name, x.description, tuple(x.property_names or ())) for x in spec.methods or ()
            ),
        ),
        status=m.DeviceStatus(report_to_cloud=report.report_to_cloud, report_cycle=report.report_cycle),
    )


def device_model(given: api.DeviceModel) -> m.DeviceModel:
    """The message that tells a mapper of a model."""
    return m.DeviceModel(
        name=given.metadata.name,
        namespace=given.metadata.namespace,
        spec=m.DeviceModelSpec(
            tuple(
                m.ModelProperty(p.name, p.description, p.type, p.access_mode, p.minimum, p.maximum, p.unit)
                for p in given.spec.properties or ()
            )
        ),
    )


def _property(given: api.DeviceProperty, of_model: api.ModelProperty | None, *, wide: bool) -> m.DeviceProperty:
    where = f"spec.properties[{given.name}]"
    defaults = of_model.visitors if of_model else None
    protocol = (defaults.protocol_name if defaults else "") or given.visitors.protocol_name
    settings = {**(defaults.config_data or {} if defaults else {}), **(given.visitors.config_data or {})}
    return m.DeviceProperty(
        name=given.name,
        desired=m.TwinProperty(given.desired.value, given.desired.metadata or {}),
        visitors=_settings(f"{where}.visitors", protocol, settings, wide=wide),
        report_cycle=given.report_cycle,
        collect_cycle=given.collect_cycle,
        report_to_cloud=given.report_to_cloud,
        push_method=_push(f"{where}.pushMethod", given.push_method, wide=wide) if given.push_method else None,
    )


def _settings(where: str, protocol: str, settings: dict[str, Any], *, wide: bool) -> m.ProtocolSettings:
    try:
        return m.ProtocolSettings(protocol, pack_all(settings, wide=wide))
    except MessageError as error:
        raise MessageError(f"{where}.configData: {error}") from error


def _push(where: str, given: dict[str, Any], *, wide: bool) -> m.PushMethod:
    anomaly = given.get("anomalyDetection")
    try:
        return m.PushMethod(
            http=_one(m.PushHttp, given.get("http"), hostName="hostname", requestPath="requestpath"),
            mqtt=_one(m.PushMqtt, given.get("mqtt")),
            otel=_one(m.PushOtel, given.get("otel"), endpointURL="endpoint_url"),
            database=_database(given.get("dbMethod")),
            anomaly_detection=pack_all(anomaly, wide=wide) if isinstance(anomaly, dict) else None,
        )
    except (MessageError, msgspec.ValidationError) as error:
        raise MessageError(f"{where}: {error}") from error


def _database(given: Any) -> m.PushDatabase | None:
    if not isinstance(given, dict):
        return None
    influx = given.get("influxdb2") or {}
    client = _one(m.Influxdb2Client, influx.get("influxdb2ClientConfig"))
    data = _one(m.Influxdb2Data, influx.get("influxdb2DataConfig"), fieldKey="field_key")
    redis = _one(m.RedisClient, (given.get("redis") or {}).get("redisClientConfig"), minIdleConns="min_idle_conns")
    engine = _one(m.TdEngineClient, (given.get("TDEngine") or {}).get("TDEngineClientConfig"), dbName="dbname")
    mysql = _one(m.MySqlClient, (given.get("mysql") or {}).get("mysqlClientConfig"), userName="user_name")
    return m.PushDatabase(
        influxdb2=m.Influxdb2(client or m.Influxdb2Client(), data or m.Influxdb2Data()) if influx else None,
        redis=m.Redis(redis) if redis else None,
        tdengine=m.TdEngine(engine) if engine else None,
        mysql=m.MySql(mysql) if mysql else None,
    )


def _one(kind: Any, given: Any, **names: str) -> Any:
    """The message of `kind` that the JSON object says; `names` are fields whose names differ."""
    if not isinstance(given, dict):
        return None
    renamed = {names.get(key, key): value for key, value in given.items() if value is not None}
    return msgspec.convert(renamed, kind)
