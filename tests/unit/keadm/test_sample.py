"""The sample is made once, on a free port; from then on it is the user's."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
import yaml

from octoedge.errors import ConfigError, InstallError
from octoedge.keadm import network, sample, thermometer
from octoedge.keadm.layout import Layout
from octoedge.keadm.sample import Sample


@pytest.fixture
def cloud(tmp_path: Path) -> Layout:
    return Layout(tmp_path, offset=20000)


def test_it_is_one_deployment_with_its_page_and_a_service() -> None:
    found = {body["kind"]: body for _, body in sample.objects("edge-1", 30180)}
    assert list(found) == ["ConfigMap", "Service", "Deployment"]
    spec = found["Deployment"]["spec"]
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    assert found["Service"]["spec"]["selector"] == spec["selector"]["matchLabels"]
    pod = spec["template"]["spec"]
    assert pod["containers"][0]["ports"][0]["hostPort"] == 30180
    assert pod["nodeSelector"] == {"kubernetes.io/hostname": "edge-1"}
    assert pod["volumes"][0]["configMap"]["name"] == found["ConfigMap"]["metadata"]["name"]


def test_what_is_not_wanted_is_noted_and_not_made(cloud: Layout) -> None:
    assert sample.make(cloud, wished=False) == sample.Shown()
    assert sample.load(cloud) == Sample(None)
    assert sample.make(cloud, wished=None) == sample.Shown()


def test_not_wanting_it_once_keeps_what_was_made(cloud: Layout) -> None:
    sample.save(cloud, Sample(50180))
    sample.make(cloud, wished=False)
    assert sample.load(cloud) == Sample(50180)


def test_a_port_that_somebody_has_is_passed_over(cloud: Layout) -> None:
    first = sample.free_port(cloud)
    with socket.create_server(("127.0.0.1", first)):
        assert sample.free_port(cloud) > first
        with pytest.raises(InstallError, match="no port from 50180 to 50180 is free"):
            sample.free_port(cloud, count=1)


def test_no_offset_leads_out_of_range(tmp_path: Path) -> None:
    assert sample.free_port(Layout(tmp_path, offset=50000)) < 65536


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"port": "x"}', "null"])
def test_a_broken_note_is_named(cloud: Layout, content: str) -> None:
    sample.file(cloud).write_text(content)
    with pytest.raises(ConfigError, match=r"sample\.json cannot be understood"):
        sample.load(cloud)


def test_host_ports_are_found_in_rules() -> None:
    rules = """-A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 30180,30181 -j CNI-DN-1
-A CNI-DN-1 -s 10.88.77.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK
-A POSTROUTING -s 10.88.77.0/24 ! -o octo0 -j MASQUERADE"""
    assert network.ports_in(rules) == {30180, 30181, 8080}


def test_the_note_is_json(cloud: Layout) -> None:
    sample.save(cloud, Sample(30180, 5502))
    assert json.loads(sample.file(cloud).read_text()) == {"port": 30180, "modbus": 5502}
    assert sample.load(cloud) == Sample(30180, 5502)


def test_a_note_of_before_there_was_a_thermometer_is_understood(cloud: Layout) -> None:
    sample.file(cloud).write_text('{"port": 30180}')
    assert sample.load(cloud) == Sample(30180)
    assert sample.device(cloud) is None
    assert sample.keep_up(cloud) == []


def test_a_thermometer_is_kept_up_once_it_was_made(cloud: Layout) -> None:
    sample.save(cloud, Sample(30180, 5502))
    (step,) = sample.keep_up(cloud)
    assert not step.check()
    device = sample.device(cloud)
    assert device is not None
    assert device.command[-2:] == ("--simulate", "5502")
    sample.take_down(cloud).undo()


def test_the_sample_is_the_example() -> None:
    example = Path(__file__).parents[3] / "examples/devices/thermometer.yaml"
    assert [body for _, body in thermometer.objects("edge-1", 5502)] == list(yaml.safe_load_all(example.read_text()))


def test_the_thermometer_moves_to_a_port_that_is_free() -> None:
    first = thermometer.free_port(20000)
    with socket.create_server(("127.0.0.1", first)):
        assert thermometer.free_port(20000) > first
        with pytest.raises(InstallError, match="no port from 25502 to 25502 is free"):
            thermometer.free_port(20000, count=1)
