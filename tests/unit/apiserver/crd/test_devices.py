"""KubeEdge's devices in both versions."""

from __future__ import annotations

import copy
import json
from typing import Any

from octoedge.apiserver.crd.devices import NEW, OLD, converted

OLD_DEVICE: dict[str, Any] = {
    "kind": "Device",
    "apiVersion": OLD,
    "metadata": {"name": "boiler", "labels": {"description": "a boiler"}},
    "spec": {
        "deviceModelRef": {"name": "probe"},
        "protocol": {
            "modbus": {"slaveID": 3},
            "common": {"com": {"serialPort": "/dev/ttyUSB0", "baudRate": 9600}, "collectType": "sync"},
        },
        "nodeSelector": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "", "operator": "In", "values": ["edge-7"]}]}]
        },
        "data": {"dataProperties": [{"propertyName": "humidity"}]},
        "propertyVisitors": [
            {
                "propertyName": "setpoint",
                "collectCycle": 500_000_000,
                "modbus": {"register": "HoldingRegister", "offset": 10},
            },
            {"propertyName": "humidity", "customizedProtocol": {"protocolName": "x", "configData": {"a": 1}}},
        ],
    },
    "status": {"twins": [{"propertyName": "setpoint", "desired": {"value": "40", "metadata": {"type": "int"}}}]},
}
DEVICE: dict[str, Any] = {
    "kind": "Device",
    "apiVersion": NEW,
    "metadata": {"name": "boiler", "annotations": {"mine": "1"}},
    "spec": {
        "deviceModelRef": {"name": "probe"},
        "nodeName": "edge-7",
        "protocol": {"protocolName": "modbus", "configData": {"slaveID": 3}},
        "methods": [{"name": "set", "propertyNames": ["setpoint"]}],
        "stateReport": {"reportToCloud": True, "reportCycle": 10000},
        "properties": [
            {
                "name": "setpoint",
                "desired": {"value": "40"},
                "visitors": {"protocolName": "modbus", "configData": {"offset": 10}},
                "collectCycle": 500,
                "reportToCloud": True,
                "pushMethod": {"mqtt": {"topic": "t"}},
            }
        ],
    },
}
MODEL: dict[str, Any] = {
    "kind": "DeviceModel",
    "apiVersion": NEW,
    "metadata": {"name": "probe"},
    "spec": {
        "protocol": "modbus",
        "protocolConfigData": {"baudRate": 9600},
        "properties": [
            {
                "name": "t",
                "type": "FLOAT",
                "accessMode": "ReadOnly",
                "minimum": "-20",
                "maximum": "120",
                "unit": "celsius",
            },
            {"name": "v", "type": "STREAM", "accessMode": "ReadOnly", "visitors": {"protocolName": "modbus"}},
            {"name": "b", "type": "BOOLEAN", "accessMode": "ReadWrite", "description": "a switch"},
        ],
    },
}


def test_an_old_device_becomes_one_that_reaches_its_node() -> None:
    new = converted(OLD_DEVICE, NEW)
    assert new["spec"]["nodeName"] == "edge-7"
    assert new["spec"]["protocol"] == {
        "protocolName": "modbus",
        "configData": {
            "serialPort": "/dev/ttyUSB0", "baudRate": 9600, "collectType": "sync",
            "communicateMode": "RTU", "slaveID": 3,
        },
    }  # fmt: skip
    setpoint, humidity = new["spec"]["properties"]
    assert setpoint == {
        "name": "setpoint",
        "visitors": {"protocolName": "modbus", "configData": {"register": "HoldingRegister", "offset": 10}},
        "reportToCloud": True,
        "collectCycle": 500,
        "desired": {"value": "40", "metadata": {"type": "int"}},
    }
    assert (humidity["reportToCloud"], humidity["visitors"]["protocolName"]) == (False, "x")
    assert new["metadata"] == OLD_DEVICE["metadata"]


def test_what_goes_there_and_back_is_what_it_was() -> None:
    there = converted(DEVICE, OLD)
    assert there["apiVersion"] == OLD
    assert there["status"]["twins"] == [{"propertyName": "setpoint", "desired": {"value": "40"}}]
    back = converted(there, NEW)
    assert {key: back[key] for key in DEVICE} == DEVICE
    model = converted(MODEL, OLD)
    limits = {"accessMode": "ReadOnly", "minimum": -20.0, "maximum": 120.0, "unit": "celsius"}
    assert model["spec"]["properties"][0] == {"name": "t", "type": {"float": limits}}
    assert converted(model, NEW) == MODEL


def test_a_wish_made_in_the_old_way_is_the_wish() -> None:
    old = converted(copy.deepcopy(DEVICE), OLD)
    old["status"]["twins"][0]["desired"]["value"] = "ON"
    assert converted(old, NEW)["spec"]["properties"][0]["desired"] == {"value": "ON"}


def test_old_devices_that_say_little_or_nonsense() -> None:
    bare = {
        "kind": "Device",
        "apiVersion": OLD,
        "metadata": {"annotations": {"octoedge.io/v1beta1": "[oops"}},
        "spec": {},
    }
    assert converted(bare, NEW)["spec"] == {"deviceModelRef": {"name": ""}, "protocol": {}}
    other = {"kind": "DeviceStatus", "apiVersion": OLD}
    assert converted(other, NEW) is other


def test_a_device_of_mqtt_clients_has_twins_and_no_visitors() -> None:
    bare = {key: value for key, value in OLD_DEVICE["spec"].items() if key != "propertyVisitors"}
    [prop] = converted({**OLD_DEVICE, "spec": bare}, NEW)["spec"]["properties"]
    assert (prop["name"], prop["desired"]["value"], prop["visitors"]) == ("setpoint", "40", {})
    again = converted(converted({**OLD_DEVICE, "spec": bare}, NEW), OLD)
    assert again["spec"]["propertyVisitors"] == []
    assert again["status"]["twins"][0]["desired"]["value"] == "40"


def test_what_the_bytes_of_bluetooth_mean_is_kept_whole_and_in_its_order() -> None:
    steps = [
        {"operationType": "Multiply", "operationValue": 0.03125},
        {"operationType": "Add", "operationValue": 4},
        {"operationType": "Multiply", "operationValue": 2},
    ]
    converter = {"startIndex": 1, "endIndex": 0, "shiftRight": 2, "orderOfOperations": steps}
    given = {"characteristicUUID": "aa01", "dataConverter": converter}
    spec = {"propertyVisitors": [{"propertyName": "t", "bluetooth": given}]}
    [prop] = converted({"kind": "Device", "apiVersion": OLD, "metadata": {}, "spec": spec}, NEW)["spec"]["properties"]
    settings = prop["visitors"]["configData"]
    assert (prop["visitors"]["protocolName"], settings["characteristicUUID"]) == ("bluetooth", "aa01")
    assert json.loads(settings["dataConverter"]) == converter  # a text: an object does not reach a mapper of KubeEdge
