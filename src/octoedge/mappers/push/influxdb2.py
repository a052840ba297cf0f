"""Values as points of InfluxDB 2, by its line protocol: `measurement,tag=x field="21.5" 1790000000000`.

The field is a text, as KubeEdge's mappers write it. The token is `TOKEN` of the mapper's environment.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from urllib.parse import urlencode

from octoedge.errors import TransportError
from octoedge.mappers.push.sending import Sample, Taken
from octoedge.mappers.push.settings import Influxdb2, Target
from octoedge.mappers.push.web import Web

_MEASUREMENT = str.maketrans({",": "\\,", " ": "\\ "})
_TAG = str.maketrans({",": "\\,", " ": "\\ ", "=": "\\="})
_TEXT = str.maketrans({'"': '\\"', "\\": "\\\\"})


def line(sample: Sample) -> str:
    """One point."""
    target = sample.target
    assert isinstance(target, Influxdb2)
    tags = "".join(f",{key.translate(_TAG)}={value.translate(_TAG)}" for key, value in target.tags)
    field = f'{target.field.translate(_TAG)}="{sample.value.translate(_TEXT)}"'
    return f"{target.measurement.translate(_MEASUREMENT)}{tags} {field} {sample.time}"


class Sender:
    """Implements `sending.Sender` for one bucket."""

    batch = 500

    def __init__(self, target: Target, _group: asyncio.TaskGroup) -> None:
        assert isinstance(target, Influxdb2)
        query = urlencode({"org": target.org, "bucket": target.bucket, "precision": "ms"})
        self._url = f"{target.url}/api/v2/write?{query}"
        self._shown = target.place
        token = os.environ.get("TOKEN", "").strip()
        self._headers = {"Content-Type": "text/plain; charset=utf-8"}
        if token:
            self._headers["Authorization"] = f"Token {token}"

    _web: Web | None = None

    async def send(self, samples: Sequence[Sample]) -> Taken:
        """All points in one request."""
        self._web = self._web or Web()
        try:
            await self._web.post(self._url, "\n".join(map(line, samples)).encode(), self._headers, shown=self._shown)
        except TransportError as error:
            hint = "" if "Authorization" in self._headers else "; TOKEN is not set in the mapper's environment"
            raise TransportError(f"{error}{hint if ' answers 401' in str(error) else ''}") from error
        return Taken()

    async def close(self) -> None:
        """End the connection."""
        if self._web is not None:
            await self._web.close()
