"""The Python of this machine as files of an image: what is needed, nothing else, and runnable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from octoedge.errors import ConfigError
from octoedge.keadm import pythontree as tree
from octoedge.keadm.layered import Link


def test_a_package_brings_what_it_requires_and_not_what_is_left_out() -> None:
    found = tree.closure([("octoedge", ""), ("octoedge", "modbus")], ["cryptography"])
    assert {"octoedge", "pyyaml", "msgspec", "pymodbus", "pyserial", "aiohttp", "yarl", "multidict"} <= set(found)
    assert not {"cryptography", "cffi", "pytest", "asyncua", "bleak", "mypy"} & set(found)
    assert "cryptography" in tree.closure([("octoedge", "opcua")])


def test_extras_are_asked_for_as_pip_is() -> None:
    assert tree.named("octoedge[modbus, ble]") == [("octoedge", ""), ("octoedge", "modbus"), ("octoedge", "ble")]
    assert tree.named("bleak") == [("bleak", "")]
    with pytest.raises(ConfigError, match=r"'\[x\]' is no package"):
        tree.named("[x]")


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="telepathy is not installed here; `pip install telepathy`"):
        tree.closure([("telepathy", "")])


def test_files_of_packages_are_there_with_their_licences_and_entry_points() -> None:
    found = tree.packages([("octoedge", "modbus")], ["cryptography"])
    names = {path.removeprefix(f"{tree.PACKAGES}/") for path in found}
    ours = {"octoedge/mappers/framework/run.py", "octoedge/mappers/framework/template.txt"}
    assert ours | {"pymodbus/__init__.py"} <= names
    assert any(name.startswith("octoedge-") and name.endswith("/entry_points.txt") for name in names)
    assert any("/licenses/" in name or name.endswith("LICENSE") for name in names)
    assert not [name for name in names if "__pycache__" in name or name.endswith((".pyc", "RECORD", "direct_url.json"))]
    assert all(path.is_file() for path in found.values())


def test_the_interpreter_comes_with_its_library_and_loader() -> None:
    found = tree.python()
    assert isinstance(found["usr/local/bin/python3"], Link)
    assert f"{tree.STDLIB}/asyncio/__init__.py" in found
    assert any("/lib-dynload/_ssl." in path or "_ssl" in sys.builtin_module_names for path in found)
    assert f"{tree.LIBRARIES}/libc.so.6" in found or any("musl" in path for path in found)
    assert any(path.startswith("lib") and "/ld-" in f"/{path}" for path in found)
    assert not [path for path in found if "/test/" in path or "/tkinter/" in path or "/site-packages/" in path]


def test_modules_are_compiled_the_same_every_time_and_name_their_place_in_the_image(tmp_path: Path) -> None:
    source, broken = tmp_path / "one.py", tmp_path / "broken.py"
    source.write_text("NAMES = {'a', 'b'}\ndef fail(): return 1 / 0\n")
    broken.write_text("def\n")
    layer = {"opt/one.py": source, "opt/broken.py": broken, "opt/data.txt": source}
    first, again = (tree.compiled(layer, tmp_path) for _ in range(2))
    ((path, made),) = first.items()
    assert path == f"opt/__pycache__/one.{sys.implementation.cache_tag}.pyc"
    assert made.read_bytes() == again[path].read_bytes()
    assert b"/opt/one.py" in made.read_bytes()
    source.write_text("not even Python")  # nobody looks at the source again
    (tmp_path / "__pycache__").mkdir()
    made.rename(tmp_path / "__pycache__" / Path(path).name)
    ran = subprocess.run((sys.executable, "-c", "import one; print(len(one.NAMES))"), cwd=tmp_path, capture_output=True)
    assert ran.stdout == b"2\n", ran.stderr


def test_why_modules_cannot_be_compiled_is_said_in_a_line(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text("x = 1\n")
    with pytest.raises(ConfigError) as refused:
        tree.compiled({"lib/one.py": source, "lib/gone.py": tmp_path / "gone.py"}, tmp_path)
    assert str(refused.value).startswith("the modules of the image cannot be compiled: FileNotFoundError")
    assert "\n" not in str(refused.value)
