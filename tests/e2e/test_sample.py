"""What the first `octoedge up` ends with: a sample, everything green, and lines that work when pasted."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from octoedge.keadm import sample, thermometer
from octoedge.keadm.layout import Layout
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch

from .conftest import OFFSET


@pytest.fixture
def fresh() -> Iterator[Installation]:
    """An installation that is not there yet."""
    home = Path(tempfile.mkdtemp(prefix="octoedge-new-"))
    installation = Installation(home, OFFSET + 3000)
    try:
        yield installation
    finally:
        installation.octoedge("down", "--purge")
        shutil.rmtree(home, ignore_errors=True)
        shutil.rmtree(f"{home}-kubectl", ignore_errors=True)


def pasted(words: str) -> list[str]:
    """The line that the shell is to begin with, and those after it."""
    _, _, rest = words.partition("things to try next")
    return [line.strip() for line in rest.splitlines()[1:] if line.startswith("  ") and not line.startswith("  #")]


def test_the_first_up_ends_with_lines_that_work(fresh: Installation) -> None:
    first = sample.free_port(Layout(fresh.home, offset=fresh.offset))
    with socket.create_server(("127.0.0.1", first)):
        words = fresh.octoedge("up").check()
    url = re.findall(r"shows its page at (http://\S+)", words)[0]
    assert f":{first}/" not in url
    assert "NOT OK" not in words
    begin, *lines = pasted(words)
    assert begin.startswith("export ")
    assert len(lines) == 7
    out = [fresh.run("bash", "-euc", f"{begin}\n{line}").check() for line in lines]
    assert out[0] == sample.PAGE
    assert "serving /www" in out[1]
    assert sample.PAGE in out[3] or "My own page" in out[3]
    assert "temperature" in out[4]
    assert "edge-2   Ready" in out[6]
    eventually(lambda: fetch(url), lambda page: page == "My own page\n")

    the_thermometer_is_kept_up_until_its_device_is_deleted(fresh)
    again = fresh.octoedge("up").check()
    assert "nothing had to be done" in again
    assert url in again
    fresh.kubectl("delete", "deployment,service,configmap", sample.NAME).check()
    told = fresh.octoedge("up").check()
    assert "The sample was deleted, and stays so" in told
    assert sample.NAME not in fresh.kubectl("get", "deployments,services,configmaps").check()
    begin, *lines = pasted(told)
    assert [fresh.run("bash", "-euc", f"{begin}\n{line}").status for line in lines] == [0, 0, 0]
    assert url.rpartition(":")[0] in fresh.octoedge("up", "--sample").check()
    assert "deployment.apps/welcome" in fresh.kubectl("get", "deployments", "-o", "name").check()


def the_thermometer_is_kept_up_until_its_device_is_deleted(fresh: Installation) -> None:
    """Killed, it is missed and started again; its wish was the user's, and so is its end."""
    device = sample.device(fresh.layout)
    assert device is not None
    eventually(lambda: fresh.octoedge("device", "get", thermometer.NAME).out, wished("60"))
    before = device.pid()
    device.kill()
    assert not fresh.status()[thermometer.NAME]["ok"]
    fresh.octoedge("up").check()
    assert device.pid() not in (None, before)
    eventually(lambda: fresh.octoedge("device", "get", thermometer.NAME).out, wished("60"))
    fresh.kubectl("delete", "device,devicemodel", thermometer.NAME).check()
    fresh.octoedge("up").check()
    assert thermometer.NAME not in fresh.status()
    assert device.pid() is None


def wished(setpoint: str) -> Callable[[str], bool]:
    """Whether a table shows that the device is where it is to be."""
    return lambda shown: re.search(rf"setpoint +{setpoint} +{setpoint} ", shown) is not None
