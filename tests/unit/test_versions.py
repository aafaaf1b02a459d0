"""Environments for other versions of Deephaven, with a program in place of Python and pip: whole, once, by one at a time."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from dh_kernel import versions
from dh_kernel.errors import ServerStartError
from dh_kernel.launching import launch_options, needs_environment
from dh_kernel.settings import Settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in is a script for a shell")
# `python -m venv DIR` puts itself into DIR; `python -m pip install …` notes what it was asked for, and does as the test says.
FAKE = """#!/bin/sh
if [ "$2" = venv ]; then
    mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && printf '#!%s\\n' "$3/bin/python" > "$3/bin/pip"
    exit
fi
echo "$@" >> "$NOTES"
[ -z "$SLOW" ] || sleep "$SLOW"
echo "Collecting deephaven-server"
[ -z "$FAILS" ] || { echo "$FAILS"; exit 1; }
"""


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setattr(versions.shutil, "which", lambda name: None)
    program = tmp_path / "python"
    program.write_text(FAKE)
    program.chmod(0o700)
    return str(program)


def calls(base: str) -> list[str]:
    notes = Path(base).with_name("notes")
    return notes.read_text().splitlines() if notes.exists() else []


def test_it_is_made_once_and_its_programs_name_the_place_where_it_is(base: str) -> None:
    environment = versions.Environment("41.11", ("deephaven-plugin-ui",), base)
    told: list[str] = []
    python = versions.provide(environment, told.append)
    assert python == versions.provide(environment, told.append) == environment.python
    assert os.access(python, os.X_OK)
    [call] = calls(base)
    assert "deephaven-server==41.11" in call
    assert "deephaven-plugin-ui" in call
    assert Path(environment.path, "bin", "pip").read_text() == f"#!{python}\n"
    assert any("Collecting" in line for line in told)
    assert [name for name in os.listdir(versions.folder()) if not name.endswith(".lock")] == [
        os.path.basename(environment.path)
    ]


def test_another_python_or_other_packages_are_another_environment(base: str) -> None:
    paths = {
        versions.Environment(version, packages, python).path
        for version, packages, python in (
            ("41.11", (), base),
            ("41.10", (), base),
            ("41.11", ("a",), base),
            ("41.11", (), sys.executable),
        )
    }
    assert len(paths) == 4


def test_two_that_want_it_at_once_install_it_once(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLOW", "0.5")
    environment = versions.Environment("41.11", (), base)
    threads = [threading.Thread(target=versions.provide, args=(environment, lambda line: None)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert environment.exists
    assert len(calls(base)) == 1


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("Temporary failure in name resolution", "no package index that has it can be reached"),
        ("ERROR: No matching distribution found for deephaven-server==41.11", "has no deephaven-server 41.11"),
        ("something else", "something else"),
    ],
)
def test_a_failure_leaves_nothing_and_says_why(base: str, monkeypatch: pytest.MonkeyPatch, output: str, said: str) -> None:
    monkeypatch.setenv("FAILS", output)
    environment = versions.Environment("41.11", (), base)
    with pytest.raises(ServerStartError, match=said):
        versions.provide(environment, lambda line: None)
    assert not environment.exists
    assert [name for name in os.listdir(versions.folder()) if not name.endswith(".lock")] == []
    monkeypatch.delenv("FAILS")
    assert os.path.exists(versions.provide(environment, lambda line: None))


def test_what_an_interrupted_one_has_left_is_removed(base: str) -> None:
    environment = versions.Environment("41.11", (), base)
    left = Path(versions.folder(), f".{os.path.basename(environment.path)}.1.new", "bin")
    left.mkdir(parents=True)
    (left / "python").touch()
    assert versions.installed() == []
    versions.provide(environment, lambda line: None)
    assert not left.exists()


def test_they_are_listed_and_removed(base: str) -> None:
    for packages in ((), ("a",)):
        versions.provide(versions.Environment("41.11", packages, base), lambda line: None)
    assert len(versions.installed()) == 2
    assert versions.remove("40.0") == 0
    assert versions.remove("41.11") == 2
    assert versions.installed() == []


def test_a_launch_uses_its_python_and_waits_until_it_is_there(base: str) -> None:
    settings = Settings(python=base, deephaven_version="41.11")
    environment = needs_environment(settings)
    assert environment is not None
    assert launch_options(settings).python == environment.python
    versions.provide(environment, lambda line: None)
    assert needs_environment(settings) is None
    assert needs_environment(Settings()) is None
