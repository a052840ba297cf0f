"""`pushMethod` of a property: from what DMI brings to typed targets, or a sentence with the field's path. Pure.

KubeEdge's rule: the first of http, mqtt, otel, anomalyDetection counts, and beside it the first database of `dbMethod`.
What counts nothing is said too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import SplitResult, urlsplit, urlunsplit

from octoedge.dmi import messages as m
from octoedge.errors import ConfigError

_MQTT = frozenset({"tcp", "mqtt", "ssl", "tls", "mqtts"})
_MYSQL_NAME = 64
"""Characters of a table's name in MySQL."""
_TDENGINE_NAME = 192


@dataclass(frozen=True, slots=True)
class Http:
    """A form, posted."""

    method: ClassVar[str] = "http"
    url: str

    @property
    def place(self) -> str:
        """The server."""
        return _origin(self.url)


@dataclass(frozen=True, slots=True)
class Mqtt:
    """A message on a topic."""

    method: ClassVar[str] = "mqtt"
    address: str
    topic: str
    quality: int = 0
    retained: bool = False

    @property
    def place(self) -> str:
        """The broker."""
        return self.address


@dataclass(frozen=True, slots=True)
class Otel:
    """A gauge, by OTLP over HTTP."""

    method: ClassVar[str] = "otel"
    url: str

    @property
    def place(self) -> str:
        """The collector."""
        return _shown(self.url)


@dataclass(frozen=True, slots=True)
class Influxdb2:
    """A point in a bucket."""

    method: ClassVar[str] = "influxdb2"
    url: str
    org: str
    bucket: str
    measurement: str
    tags: tuple[tuple[str, str], ...]
    field: str

    @property
    def place(self) -> str:
        """The bucket."""
        return f"{_shown(self.url)} {self.org}/{self.bucket}"


@dataclass(frozen=True, slots=True)
class Redis:
    """A member of a sorted set."""

    method: ClassVar[str] = "redis"
    host: str
    port: int
    db: int

    @property
    def place(self) -> str:
        """The database."""
        return f"{self.host}:{self.port}/{self.db}"


@dataclass(frozen=True, slots=True)
class TdEngine:
    """A row of a sub table."""

    method: ClassVar[str] = "tdengine"
    url: str
    database: str

    @property
    def place(self) -> str:
        """The database."""
        return f"{self.url}/{self.database}"


@dataclass(frozen=True, slots=True)
class MySql:
    """A row of a table."""

    method: ClassVar[str] = "mysql"
    host: str
    port: int
    database: str
    user: str

    @property
    def place(self) -> str:
        """The database."""
        return f"{self.host}:{self.port}/{self.database}"


Target = Http | Mqtt | Otel | Influxdb2 | Redis | TdEngine | MySql


def outlet(target: Target) -> tuple[Any, ...]:
    """What targets have in common that one connection is for."""
    if isinstance(target, Otel | Influxdb2):
        return (target.method, target.place, target.url)
    return (target.method, target.place, target.user if isinstance(target, MySql) else "")


def targets(told: m.PushMethod, device: tuple[str, str], prop: str, problems: list[str]) -> tuple[Target, ...]:
    """Where the values of a property go; what cannot be done is added to `problems`, and the rest goes on."""
    where = f"spec.properties[{prop}].pushMethod"
    named = [key for key in ("http", "mqtt", "otel", "anomaly_detection") if getattr(told, key) is not None]
    found = [*_first(told, where, named, prop, device, problems)]
    if told.database is not None:
        databases = [key for key in ("influxdb2", "redis", "tdengine", "mysql") if getattr(told.database, key)]
        if not databases:
            problems.append(f"{where}.dbMethod: it names none of influxdb2, redis, TDEngine, mysql; nothing is stored")
        found += _first(told.database, f"{where}.dbMethod", databases, prop, device, problems)
    elif not named:
        problems.append(f"{where}: it names none of http, mqtt, otel, dbMethod; nothing is pushed")
    return tuple(found)


def _first(
    told: Any, where: str, named: list[str], prop: str, device: tuple[str, str], problems: list[str]
) -> Iterator[Target]:
    if not named:
        return
    key, spelt = named[0], [_SPELT.get(key, key) for key in named]
    problems += [f"{where}.{ignored}: ignored, because {spelt[0]} is there too" for ignored in spelt[1:]]
    try:
        yield _READ[key](getattr(told, key), f"{where}.{spelt[0]}", device, prop)
    except ConfigError as error:
        problems.append(f"{error}; nothing is pushed there")


# ---- one function for each method ------------------------------------------------------------------------------------


def _http(told: m.PushHttp, where: str, _device: tuple[str, str], _prop: str) -> Http:
    parts = _web(told.hostname, f"{where}.hostName", "http://10.0.0.9")
    if not 0 <= told.port <= 65535:
        raise ConfigError(f"{where}.port: {told.port} is no port")
    if told.port and (parts.port or parts.path not in ("", "/")):
        raise ConfigError(
            f"{where}.hostName: {told.hostname[:100]!r} must be scheme and host alone, as `port` is given"
        )
    if any(sign.isspace() or not sign.isprintable() for sign in told.requestpath):
        raise ConfigError(f"{where}.requestPath: {told.requestpath[:100]!r} is no path")
    host = told.hostname.strip().rstrip("/") + (f":{told.port}" if told.port else "")
    slash = "" if not told.requestpath or told.requestpath.startswith("/") else "/"
    return Http(f"{host}{slash}{told.requestpath}")


def _mqtt(told: m.PushMqtt, where: str, _device: tuple[str, str], _prop: str) -> Mqtt:
    address = told.address.strip()
    if address and "://" not in address:
        address = f"tcp://{address}"
    parts = _split(address, f"{where}.address", "tcp://10.0.0.9:1883")
    if parts.scheme not in _MQTT:
        raise ConfigError(f"{where}.address: {address[:100]!r} is not one of {', '.join(sorted(_MQTT))}://")
    if parts.username is not None:
        raise ConfigError(f"{where}.address: a Device is no place for a password")
    if not told.topic or any(sign in told.topic for sign in "+#\0") or len(told.topic.encode()) > 65535:
        raise ConfigError(f"{where}.topic: {told.topic[:100]!r} is no topic to publish on")
    if told.qos not in (0, 1, 2):
        raise ConfigError(f"{where}.qos: {told.qos} is none of 0, 1, 2")
    return Mqtt(address, told.topic, told.qos, told.retained)


def _otel(told: m.PushOtel, where: str, _device: tuple[str, str], _prop: str) -> Otel:
    parts = _web(told.endpoint_url, f"{where}.endpointURL", "http://collector:4318/v1/metrics")
    return Otel(urlunsplit(parts._replace(path=parts.path if parts.path not in ("", "/") else "/v1/metrics")))


def _influxdb2(told: m.Influxdb2, where: str, _device: tuple[str, str], _prop: str) -> Influxdb2:
    client, data = told.client, told.data
    _web(client.url, f"{where}.influxdb2ClientConfig.url", "http://10.0.0.9:8086")
    for key, value in (("org", client.org), ("bucket", client.bucket)):
        _needed(value, f"{where}.influxdb2ClientConfig.{key}")
    place = f"{where}.influxdb2DataConfig"
    names = [(f"{place}.measurement", data.measurement), (f"{place}.fieldKey", data.field_key)]
    for path, name in names:
        if name.startswith(("#", "_")):
            raise ConfigError(f"{path}: {name[:60]!r} begins with a sign that InfluxDB keeps for itself")
    for path, name in [
        *names,
        *((f"{place}.tag[{key[:60]}]", word) for key in data.tag for word in (key, data.tag[key])),
    ]:
        _needed(name, path)
        if name.endswith("\\") or not name.isprintable():
            raise ConfigError(f"{path}: {name[:60]!r} cannot be said to InfluxDB (a \\ at its end, or a control sign)")
    tags = tuple(sorted(data.tag.items()))
    return Influxdb2(client.url.strip().rstrip("/"), client.org, client.bucket, data.measurement, tags, data.field_key)


def _redis(told: m.Redis, where: str, _device: tuple[str, str], _prop: str) -> Redis:
    host, port = _address(told.client.addr, f"{where}.redisClientConfig.addr", 6379)
    if told.client.db < 0:
        raise ConfigError(f"{where}.redisClientConfig.db: {told.client.db} is no number of a database")
    return Redis(host, port, told.client.db)


def _tdengine(told: m.TdEngine, where: str, device: tuple[str, str], prop: str) -> TdEngine:
    host, port = _address(told.client.addr, f"{where}.TDEngineClientConfig.addr", 6041)
    name = f"{where}.TDEngineClientConfig.dbName"
    _needed(told.client.dbname, name)
    if not told.client.dbname.isidentifier() or not told.client.dbname.isascii():
        raise ConfigError(f"{name}: {told.client.dbname[:60]!r} is no name of a database")
    _table("/".join((*device, prop)), where, _TDENGINE_NAME)
    return TdEngine(f"http://{_bracketed(host)}:{port}", told.client.dbname)


def _mysql(told: m.MySql, where: str, device: tuple[str, str], prop: str) -> MySql:
    host, port = _address(told.client.addr, f"{where}.mysqlClientConfig.addr", 3306)
    _needed(told.client.database, f"{where}.mysqlClientConfig.database")
    _needed(told.client.user_name, f"{where}.mysqlClientConfig.userName")
    _table("/".join((*device, prop)), where, _MYSQL_NAME)
    return MySql(host, port, told.client.database, told.client.user_name)


def _anomaly(_told: m.Settings, where: str, _device: tuple[str, str], _prop: str) -> Target:
    raise ConfigError(f"{where} is not implemented; look at values in a function under @read")


_READ: dict[str, Callable[[Any, str, tuple[str, str], str], Target]] = {
    "http": _http, "mqtt": _mqtt, "otel": _otel, "anomaly_detection": _anomaly,
    "influxdb2": _influxdb2, "redis": _redis, "tdengine": _tdengine, "mysql": _mysql,
}  # fmt: skip
_SPELT = {"anomaly_detection": "anomalyDetection", "tdengine": "TDEngine"}


# ---- addresses and names ---------------------------------------------------------------------------------------------


def _needed(text: str, where: str) -> None:
    if not text.strip():
        raise ConfigError(f"{where} is missing")


def _table(name: str, where: str, most: int) -> None:
    """What the table is called by KubeEdge's rule must be a name."""
    if len(name) > most or not name.isprintable() or name != name.strip() or any(sign > "\uffff" for sign in name):
        raise ConfigError(
            f"{where}: {name[:200]!r} would be the table, which must be up to {most} printable characters"
        )


def _web(text: str, where: str, example: str) -> SplitResult:
    parts = _split(text.strip(), where, example)
    if parts.scheme not in ("http", "https"):
        raise ConfigError(f"{where}: {_shown(text)[:100]!r} does not begin with http:// or https://")
    return parts


def _split(text: str, where: str, example: str) -> SplitResult:
    if not text:
        raise ConfigError(f"{where} is missing; it should look like {example}")
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(sign.isspace() or not sign.isprintable() for sign in text):
        raise ConfigError(f"{where}: {text.rpartition('@')[2][:100]!r} is no address; it should look like {example}")
    return parts


def _address(text: str, where: str, port: int) -> tuple[str, int]:
    """`host:port`, the port by default."""
    if "://" in text or "/" in text or "@" in text:
        raise ConfigError(f"{where}: {text.rpartition('@')[2][:100]!r} must be host:port, such as 10.0.0.9:{port}")
    parts = _split(f"//{text.strip()}" if text.strip() else "", where, f"10.0.0.9:{port}")
    return parts.hostname or "", parts.port or port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _shown(url: str) -> str:
    """Without a password in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
