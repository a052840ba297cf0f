"""The mapper's REST door, on KubeEdge's paths, and its metrics.

    GET /api/v1/ping
    GET /api/v1/device/{ns}/{name}/{property}                                  reads it now
    GET /api/v1/devicemethod/{ns}/{name}                                       what methods there are
    GET or PUT /api/v1/devicemethod/{ns}/{name}/{method}/{property}/{data}     writes it now
    GET /api/v1/meta/model/{ns}/{name}                                         the model of that device
    GET /metrics

Errors are 500 with a plain text, as KubeEdge's mappers answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from octoedge.errors import ConfigError, OctoedgeError
from octoedge.mappers.framework.edgecore import EdgeCore
from octoedge.mappers.framework.panel import Panel
from octoedge.mappers.framework.work import Work
from octoedge.runtime.clock import Clock, rfc3339

Json = dict[str, Any]
Answer = Callable[[web.Request], Awaitable[Json]]

_CORRELATION = "X-Correlation-ID"
_SECONDS = 10.0


class Rest:
    """Serves one mapper's devices."""

    def __init__(self, panel: Panel, edgecore: EdgeCore, clock: Clock) -> None:
        self._panel = panel
        self._edgecore = edgecore
        self._clock = clock

    async def serve(self, host: str, port: int) -> None:
        """Listen until cancelled. Raises `ConfigError` when the port is taken."""
        application = web.Application(client_max_size=64 * 1024)
        method = "/api/v1/devicemethod/{namespace}/{name}/{method}/{property}/{data}"
        application.add_routes(
            [
                web.get("/api/v1/ping", self._json(self._ping)),
                web.get("/api/v1/device/{namespace}/{name}/{property}", self._json(self._read)),
                web.get("/api/v1/devicemethod/{namespace}/{name}", self._json(self._methods)),
                web.get(method, self._json(self._write)),
                web.put(method, self._json(self._write)),
                web.get("/api/v1/meta/model/{namespace}/{name}", self._json(self._model)),
                web.get("/metrics", self._metrics),
            ]
        )
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port).start()
            await asyncio.Event().wait()
        except OSError as error:
            raise ConfigError(
                f"the mapper cannot listen on {host}:{port}: {error}; choose another --http-port"
            ) from error
        finally:
            await runner.cleanup()

    def _json(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(request: web.Request) -> web.Response:
            headers = {_CORRELATION: request.headers[_CORRELATION]} if _CORRELATION in request.headers else {}
            try:
                async with asyncio.timeout(_SECONDS):
                    said = await answer(request)
            except TimeoutError:
                return web.Response(status=500, text=f"no answer within {_SECONDS:g} s", headers=headers)
            except OctoedgeError as error:
                return web.Response(status=500, text=str(error), headers=headers)
            base = {"apiVersion": "v1", "statusCode": 200, "timeStamp": rfc3339(self._clock.now())}
            return web.json_response({**base, **said}, headers=headers)

        return handle

    async def _ping(self, _request: web.Request) -> Json:
        return {"Message": "This is v1 API, the service is running normally."}

    async def _read(self, request: web.Request) -> Json:
        work, name = self._work(request), request.match_info["property"]
        value = await work.read_now(name)
        prop = work.device.properties[name]
        return {
            "Data": {
                "DeviceName": work.device.name,
                "PropertyName": name,
                "Namespace": work.device.namespace,
                "Value": value,
                "Type": prop.type.lower(),
                "TimeStamp": int(self._clock.now() * 1000),
            }
        }

    async def _methods(self, request: web.Request) -> Json:
        work = self._work(request)
        root = f"/api/v1/devicemethod/{work.device.namespace}/{work.device.name}"
        properties = work.device.properties
        return {
            "Data": {
                "Methods": [
                    {
                        "Name": name,
                        "Path": f"{root}/{name}/{{propertyName}}/{{data}}",
                        "Parameters": [
                            {
                                "PropertyName": one,
                                "ValueType": properties[one].type.lower() if one in properties else "",
                            }
                            for one in names
                        ],
                    }
                    for name, names in work.device.methods.items()
                ]
            }
        }

    async def _write(self, request: web.Request) -> Json:
        work, method, name = self._work(request), request.match_info["method"], request.match_info["property"]
        if method not in work.device.methods:
            raise ConfigError(f"device {work.device.id} has no method {method[:100]!r}")
        if name not in work.device.methods[method]:
            raise ConfigError(f"method {method} of device {work.device.id} does not write {name[:100]!r}")
        await work.write_now(name, request.match_info["data"])
        return {"Message": f"Write data {request.match_info['data']} to device {work.device.name} successfully."}

    async def _model(self, request: web.Request) -> Json:
        work = self._work(request)
        device = work.device
        model = self._panel.models.get((device.namespace, device.model))
        properties = model.spec.properties if model is not None else ()
        return {  # not below "Data": KubeEdge's mappers say a model so
            "id": f"{device.namespace}/{device.model}",
            "name": device.model,
            "namespace": device.namespace,
            "description": "",
            "properties": [
                {
                    "name": one.name,
                    "dataType": one.type.lower(),
                    "description": one.description,
                    "accessMode": one.access_mode,
                    "minimum": one.minimum,
                    "maximum": one.maximum,
                    "unit": one.unit,
                }
                for one in properties
            ],
        }

    async def _metrics(self, _request: web.Request) -> web.Response:
        works = self._panel.works.values()
        sums = {name: sum(work.counts[name] for work in works) for name in ("reads", "failed", "writes")}
        lines = []
        for name, number in {**sums, **self._edgecore.counts}.items():
            lines += [f"# TYPE octoedge_mapper_{name} counter", f"octoedge_mapper_{name}_total {number}"]
        states = sorted(work.state.value for work in works)
        lines += ["# TYPE octoedge_mapper_devices gauge", "# TYPE octoedge_mapper_registered gauge"]
        lines += [
            f'octoedge_mapper_devices{{state="{state}"}} {states.count(state)}' for state in dict.fromkeys(states)
        ]
        lines.append(f"octoedge_mapper_registered {int(self._edgecore.registered)}")
        lines += self._pushed()
        return web.Response(text="\n".join(lines) + "\n")

    def _pushed(self) -> list[str]:
        """What went to other servers, and what did not; nothing when no device has a `pushMethod`."""
        hub = self._panel.pushes
        if hub is None:
            return []
        lines = []
        for what in sorted({what for what, _ in hub.counts}):
            lines.append(f"# TYPE octoedge_mapper_{what} counter")
            for (counted, method), number in sorted(hub.counts.items()):
                if counted == what:
                    lines.append(f'octoedge_mapper_{what}_total{{method="{method}"}} {number}')
        lines.append("# TYPE octoedge_mapper_push_waiting gauge")
        waiting = sorted(hub.waiting().items())
        return lines + [f'octoedge_mapper_push_waiting{{method="{method}"}} {number}' for method, number in waiting]

    def _work(self, request: web.Request) -> Work:
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        work = self._panel.get(namespace, name)
        if work is None:
            raise ConfigError(f"there is no device {namespace[:100]}/{name[:100]} here")
        return work
