"""Modules that are imported when they are first used, each case in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BEGIN = "import sys; from octoedge.commands.later import postpone; postpone(); "


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", _BEGIN + program], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_an_import_alone_imports_nothing() -> None:
    said = run("import asyncio, msgspec, urllib.parse; print('ip_address' in vars(sys.modules['ipaddress']))")
    assert said == "False"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import ipaddress; print(ipaddress.ip_address('10.0.0.1'), ipaddress.IPv4Address)",
         "10.0.0.1 <class 'ipaddress.IPv4Address'>"),
        ("from ipaddress import ip_network as n; import ipaddress; print(n is ipaddress.ip_network)", "True"),
        ("import msgspec; print(msgspec.json.schema(int))", "{'type': 'integer'}"),
        ("import urllib.parse; print(urllib.parse.urlsplit('http://[::1]:80/').hostname)", "::1"),
        ("import shutil; print('xztar' in dict((x[0], 1) for x in shutil.get_archive_formats()))", "True"),
        ("import bz2; print(bz2.decompress(bz2.compress(b'x')))", "b'x'"),
        ("import textwrap, traceback, linecache; print(textwrap.dedent(' a'))", "a"),
        ("import msgspec, dataclasses; print(hasattr(sys.modules['locale'], '__path__'))", "False"),
    ],
)  # fmt: skip
def test_the_first_use_imports_the_real_module(program: str, said: str) -> None:
    assert run(program) == said
