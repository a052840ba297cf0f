"""Devices of the API as mappers get them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.api import devices as api
from octoedge.dmi import messages as m
from octoedge.dmi.convert import device, device_model
from octoedge.dmi.values import unpack
from octoedge.errors import MessageError

MODEL = {
    "metadata": {"name": "probe", "namespace": "plant"},
    "spec": {
        "protocol": "modbus",
        "protocolConfigData": {"baudRate": 9600, "slaveID": 1},
        "properties": [
            {
                "name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly", "minimum": "-40", "maximum": "120",
                "unit": "°C", "description": "of the air",
                "visitors": {"protocolName": "modbus", "configData": {"offset": 2, "scale": 0.1}},
            },
            {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite"},
        ],
    },
}  # fmt: skip


def plain(settings: m.Settings) -> dict[str, Any]:
    return {setting.key: unpack(setting.value) for setting in settings.data}


DEVICE = {
    "metadata": {"name": "boiler", "namespace": "plant"},
    "spec": {
        "deviceModelRef": {"name": "probe"},
        "nodeName": "edge-1",
        "protocol": {"protocolName": "modbus", "configData": {"slaveID": 3, "serialPort": "/dev/ttyUSB0"}},
        "stateReport": {"reportToCloud": True, "reportCycle": 10000},
        "properties": [
            {
                "name": "temperature",
                "collectCycle": 2000,
                "reportToCloud": True,
                "visitors": {"configData": {"offset": 4}},
            },
            {"name": "setpoint", "desired": {"value": "40", "metadata": {"type": "int"}}},
        ],
        "methods": [{"name": "set", "propertyNames": ["setpoint"]}],
    },
}


def views(given: Any = DEVICE, of_model: Any = MODEL) -> tuple[api.Device, api.DeviceModel]:
    encode = msgspec.json.encode
    return api.read(encode(given), api.Device), api.read(encode(of_model), api.DeviceModel)


def test_the_model_fills_in_what_the_device_leaves_open() -> None:
    told = device(*views(), wide=False)
    assert (told.name, told.namespace, told.spec.model) == ("boiler", "plant", "probe")
    assert told.spec.protocol.protocol_name == "modbus"
    settings = plain(told.spec.protocol.config_data)
    assert settings == {"baudRate": 9600, "slaveID": 3, "serialPort": "/dev/ttyUSB0"}
    temperature, setpoint = told.spec.properties
    assert temperature.visitors.protocol_name == "modbus"
    assert plain(temperature.visitors.config_data) == {"offset": 4, "scale": 0.1}
    assert (temperature.collect_cycle, temperature.report_to_cloud) == (2000, True)
    assert setpoint.desired == m.TwinProperty("40", {"type": "int"})
    assert told.spec.methods == (m.DeviceMethod("set", "", ("setpoint",)),)
    assert told.status == m.DeviceStatus(report_to_cloud=True, report_cycle=10000)


def test_a_model_is_told_whole() -> None:
    told = device_model(views()[1])
    assert told.spec.properties[0] == m.ModelProperty(
        "temperature", "of the air", "FLOAT", "ReadOnly", "-40", "120", "°C"
    )


def test_where_values_are_pushed_crosses_with_its_odd_names() -> None:
    push = {
        "http": {"hostName": "http://h", "port": 8080, "requestPath": "/x", "timeout": 5},
        "mqtt": {"address": "tcp://b:1883", "topic": "t", "qos": 1, "retained": True},
        "otel": {"endpointURL": "http://o"},
        "dbMethod": {
            "influxdb2": {
                "influxdb2ClientConfig": {"url": "u", "org": "o", "bucket": "b"},
                "influxdb2DataConfig": {"measurement": "m", "tag": {"unit": "kWh"}, "fieldKey": "f"},
            },
            "redis": {"redisClientConfig": {"addr": "a", "db": 1, "poolsize": 2, "minIdleConns": 3}},
            "TDEngine": {"TDEngineClientConfig": {"addr": "a", "dbName": "d"}},
            "mysql": {"mysqlClientConfig": {"addr": "a", "database": "d", "userName": "u"}},
        },
        "anomalyDetection": {"threshold": 3},
    }
    given: Any = {"spec": {"properties": [{"name": "p", "pushMethod": push}]}}
    told = device(*views(given), wide=True).spec.properties[0].push_method
    assert told is not None
    assert told.http == m.PushHttp("http://h", 8080, "/x", 5)
    assert told.mqtt == m.PushMqtt("tcp://b:1883", "t", 1, True)
    assert told.otel == m.PushOtel("http://o")
    assert told.database == m.PushDatabase(
        m.Influxdb2(m.Influxdb2Client("u", "o", "b"), m.Influxdb2Data("m", {"unit": "kWh"}, "f")),
        m.Redis(m.RedisClient("a", 1, 2, 3)),
        m.TdEngine(m.TdEngineClient("a", "d")),
        m.MySql(m.MySqlClient("a", "d", "u")),
    )
    assert told.anomaly_detection is not None
    assert plain(told.anomaly_detection) == {"threshold": 3}


@pytest.mark.parametrize(
    ("push", "where"),
    [
        ({"http": {"port": "eighty"}}, r"spec\.properties\[p\]\.pushMethod"),
        ({"anomalyDetection": {"x": 1e300}}, r"spec\.properties\[p\]\.pushMethod"),
    ],
)
def test_what_cannot_be_said_is_named(push: Any, where: str) -> None:
    given: Any = {"spec": {"properties": [{"name": "p", "pushMethod": push}]}}
    with pytest.raises(MessageError, match=where):
        device(*views(given), wide=False)


def test_settings_that_cannot_be_said_are_named() -> None:
    with pytest.raises(MessageError, match=r"spec\.protocol\.configData: 1e\+300 is too large"):
        device(*views({"spec": {"protocol": {"configData": {"x": 1e300}}}}), wide=False)


def test_an_object_that_is_no_device_names_the_field() -> None:
    with pytest.raises(MessageError, match=r"not a Device: .*spec\.nodeName"):
        api.read(b'{"spec":{"nodeName":7}}', api.Device)
