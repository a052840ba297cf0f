"""What a Device's pushMethod says, and how what it cannot mean is refused by its field's path."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.dmi import messages as m
from octoedge.mappers.framework.device import device
from octoedge.mappers.push import settings as s

KEY = ("plant", "boiler")


def targets(push: m.PushMethod, prop: str = "t") -> tuple[tuple[s.Target, ...], list[str]]:
    problems: list[str] = []
    return s.targets(push, KEY, prop, problems), problems


def influx(**data: Any) -> m.PushMethod:
    client = m.Influxdb2Client(url="http://i:8086/", org="o", bucket="b")
    given: Any = {"measurement": "m", "tag": {"unit": "kWh"}, "field_key": "f", **data}
    return m.PushMethod(database=m.PushDatabase(influxdb2=m.Influxdb2(client, m.Influxdb2Data(**given))))


def database(**one: Any) -> m.PushMethod:
    return m.PushMethod(database=m.PushDatabase(**one))


GOOD: list[tuple[m.PushMethod, s.Target]] = [
    (m.PushMethod(http=m.PushHttp("http://h", 8080, "/x", 5)), s.Http("http://h:8080/x")),
    (m.PushMethod(http=m.PushHttp("https://h/", 0, "x")), s.Http("https://h/x")),
    (m.PushMethod(http=m.PushHttp("http://[::1]", 80, "")), s.Http("http://[::1]:80")),
    (m.PushMethod(http=m.PushHttp("http://h/api", 0, "/x?a=b")), s.Http("http://h/api/x?a=b")),
    (m.PushMethod(mqtt=m.PushMqtt("tcp://b:1883", "a/b", 1, True)), s.Mqtt("tcp://b:1883", "a/b", 1, True)),
    (m.PushMethod(mqtt=m.PushMqtt("b:1883", "a")), s.Mqtt("tcp://b:1883", "a")),
    (m.PushMethod(otel=m.PushOtel("http://c:4318")), s.Otel("http://c:4318/v1/metrics")),
    (m.PushMethod(otel=m.PushOtel("http://c:4318/own/path")), s.Otel("http://c:4318/own/path")),
    (influx(), s.Influxdb2("http://i:8086", "o", "b", "m", (("unit", "kWh"),), "f")),
    (database(redis=m.Redis(m.RedisClient("r:6380", 2))), s.Redis("r", 6380, 2)),
    (database(redis=m.Redis(m.RedisClient("[::1]"))), s.Redis("::1", 6379, 0)),
    (database(tdengine=m.TdEngine(m.TdEngineClient("::1".join("[]"), "db"))), s.TdEngine("http://[::1]:6041", "db")),
    (database(mysql=m.MySql(m.MySqlClient("q:3306", "db", "u"))), s.MySql("q", 3306, "db", "u")),
]


@pytest.mark.parametrize(("push", "target"), GOOD)
def test_what_is_said_is_meant(push: m.PushMethod, target: s.Target) -> None:
    assert targets(push) == ((target,), [])
    assert target.place


BAD: list[tuple[m.PushMethod, str]] = [
    (m.PushMethod(), ": it names none of http, mqtt, otel, dbMethod"),
    (m.PushMethod(http=m.PushHttp()), ".http.hostName is missing"),
    (m.PushMethod(http=m.PushHttp("10.0.0.9", 80)), ".http.hostName: '10.0.0.9'"),
    (m.PushMethod(http=m.PushHttp("ftp://h", 80)), ".http.hostName: 'ftp://h' does not begin with http"),
    (m.PushMethod(http=m.PushHttp("http://h:81", 80)), ".http.hostName: 'http://h:81' must be scheme and host alone"),
    (m.PushMethod(http=m.PushHttp("http://h", 70000)), ".http.port: 70000"),
    (m.PushMethod(http=m.PushHttp("http://h", 80, "/a\nb")), ".http.requestPath"),
    (m.PushMethod(mqtt=m.PushMqtt("", "t")), ".mqtt.address is missing"),
    (m.PushMethod(mqtt=m.PushMqtt("ws://b", "t")), ".mqtt.address: 'ws://b' is not one of"),
    (m.PushMethod(mqtt=m.PushMqtt("tcp://u:hush@b", "t")), ".mqtt.address: a Device is no place for a password"),
    (m.PushMethod(mqtt=m.PushMqtt("tcp://b", "")), ".mqtt.topic: ''"),
    (m.PushMethod(mqtt=m.PushMqtt("tcp://b", "a/#")), ".mqtt.topic: 'a/#'"),
    (m.PushMethod(mqtt=m.PushMqtt("tcp://b", "a", 3)), ".mqtt.qos: 3"),
    (m.PushMethod(otel=m.PushOtel()), ".otel.endpointURL is missing"),
    (m.PushMethod(otel=m.PushOtel("http://c:port")), ".otel.endpointURL: 'http://c:port' is no address"),
    (m.PushMethod(anomaly_detection=m.Settings()), ".anomalyDetection is not implemented"),
    (database(), ".dbMethod: it names none of influxdb2, redis, TDEngine, mysql"),
    (influx(measurement=""), ".dbMethod.influxdb2.influxdb2DataConfig.measurement is missing"),
    (influx(field_key="_f"), ".dbMethod.influxdb2.influxdb2DataConfig.fieldKey: '_f'"),
    (influx(tag={"a": ""}), ".dbMethod.influxdb2.influxdb2DataConfig.tag[a] is missing"),
    (influx(tag={"": "a"}), ".dbMethod.influxdb2.influxdb2DataConfig.tag[] is missing"),
    (influx(tag={"a": "b\\"}), ".dbMethod.influxdb2.influxdb2DataConfig.tag[a]"),
    (influx(tag={"a\n": "b"}), ".dbMethod.influxdb2.influxdb2DataConfig.tag[a\n]"),
    (database(influxdb2=m.Influxdb2()), ".dbMethod.influxdb2.influxdb2ClientConfig.url is missing"),
    (database(redis=m.Redis()), ".dbMethod.redis.redisClientConfig.addr is missing"),
    (database(redis=m.Redis(m.RedisClient("redis://:hush@r"))), ".dbMethod.redis.redisClientConfig.addr: 'r'"),
    (database(redis=m.Redis(m.RedisClient("r:x"))), ".dbMethod.redis.redisClientConfig.addr: '//r:x'"),
    (database(redis=m.Redis(m.RedisClient("r", -1))), ".dbMethod.redis.redisClientConfig.db: -1"),
    (database(tdengine=m.TdEngine(m.TdEngineClient("t"))), ".dbMethod.TDEngine.TDEngineClientConfig.dbName is missing"),
    (database(tdengine=m.TdEngine(m.TdEngineClient("t", "a/b"))), ".dbMethod.TDEngine.TDEngineClientConfig.dbName: 'a"),
    (database(mysql=m.MySql(m.MySqlClient("q"))), ".dbMethod.mysql.mysqlClientConfig.database is missing"),
    (database(mysql=m.MySql(m.MySqlClient("q", "d"))), ".dbMethod.mysql.mysqlClientConfig.userName is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("push", "problem"), BAD)
def test_what_cannot_be_meant_is_refused_by_its_path(push: m.PushMethod, problem: str) -> None:
    found, problems = targets(push)
    assert found == ()
    assert len(problems) == 1
    assert problems[0].startswith(f"spec.properties[t].pushMethod{problem}")
    assert "hush" not in problems[0]


def test_the_first_method_counts_as_in_kubeedge_and_a_database_beside_it() -> None:
    push = m.PushMethod(
        http=m.PushHttp("http://h", 80),
        otel=m.PushOtel("http://c"),
        database=m.PushDatabase(redis=m.Redis(m.RedisClient("r")), mysql=m.MySql(m.MySqlClient("q", "d", "u"))),
    )
    found, problems = targets(push)
    assert [one.method for one in found] == ["http", "redis"]
    assert problems == [
        "spec.properties[t].pushMethod.otel: ignored, because http is there too",
        "spec.properties[t].pushMethod.dbMethod.mysql: ignored, because redis is there too",
    ]


def test_a_wrong_database_leaves_the_method_beside_it() -> None:
    push = m.PushMethod(http=m.PushHttp("http://h", 80), database=m.PushDatabase())
    found, problems = targets(push)
    assert found == (s.Http("http://h:80"),)
    assert len(problems) == 1


def test_a_table_must_have_a_name_that_the_database_takes() -> None:
    push = database(mysql=m.MySql(m.MySqlClient("q", "d", "u")))
    assert targets(push, "p" * 51) == (((s.MySql("q", 3306, "d", "u")),), [])
    found, problems = targets(push, "p" * 52)
    assert found == ()
    assert "would be the table" in problems[0]


def test_what_one_connection_is_for() -> None:
    topics = [s.Mqtt("tcp://b", topic) for topic in ("a", "b")]
    assert s.outlet(topics[0]) == s.outlet(topics[1])
    assert s.outlet(s.MySql("q", 1, "d", "u")) != s.outlet(s.MySql("q", 1, "d", "v"))
    assert s.outlet(s.Redis("q", 1, 0)) != s.outlet(s.Redis("q", 1, 1))


def test_a_password_in_a_url_is_not_shown() -> None:
    for target in (s.Http("http://u:hush@h:1/x"), s.Otel("http://u:hush@h:1/x")):
        assert "hush" not in target.place


def test_a_device_keeps_its_property_when_its_push_makes_no_sense() -> None:
    told = m.Device(
        "boiler",
        m.DeviceSpec(
            properties=(
                m.DeviceProperty("t", report_cycle=500, report_to_cloud=True, push_method=m.PushMethod()),
                m.DeviceProperty("u", report_cycle=500, push_method=m.PushMethod(otel=m.PushOtel("http://c"))),
            )
        ),
        namespace="plant",
    )
    found = device(told, None)
    assert len(found.problems) == 1
    assert (found.properties["t"].beat, found.properties["t"].pushes) == (1.0, ())
    assert (found.properties["u"].beat, found.properties["u"].push_cycle) == (0.5, 0.5)


@given(st.text(max_size=40), st.integers(-5, 70000), st.text(max_size=20))
def test_no_text_at_all_breaks_it(text: str, number: int, other: str) -> None:
    for push in (
        m.PushMethod(http=m.PushHttp(text, number, other)),
        m.PushMethod(http=m.PushHttp(f"http://{text}", number, other)),
        m.PushMethod(mqtt=m.PushMqtt(text, other, number)),
        m.PushMethod(otel=m.PushOtel(f"http://{text}")),
        influx(measurement=text, tag={text: other}, field_key=other),
        database(redis=m.Redis(m.RedisClient(text, number))),
        database(mysql=m.MySql(m.MySqlClient(text, other, text))),
        database(tdengine=m.TdEngine(m.TdEngineClient(text, other))),
    ):
        found, problems = targets(push, text)
        assert len(found) + len(problems) == 1
        assert [one.place for one in found if not one.place] == []
