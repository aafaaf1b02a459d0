"""Environments for other versions of Deephaven, with a program in place of Python and pip: whole, once, by one at a time."""

from __future__ import annotations

import os
import re
import sys
import threading
from pathlib import Path

import pytest

from dh_kernel import versions
from dh_kernel.errors import ServerStartError
from dh_kernel.launching import launch_options, needs_environment
from dh_kernel.settings import Settings

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in is a script for a shell")
# `python -I -X utf8 -m venv DIR` puts itself into DIR; `python … -m pip install …` notes what it was asked for, and does as
# the test says.
FAKE = """#!/bin/sh
echo "$PWD $1 $5" >> "$NOTES.where"
if [ "$5" = venv ]; then
    mkdir -p "$6/bin" && cp "$0" "$6/bin/python" && printf '#!%s\\n' "$6/bin/python" > "$6/bin/pip"
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


def test_nothing_is_imported_or_read_from_the_folder_of_the_notebook(
    base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    versions.provide(versions.Environment("41.11", (), base), lambda line: None)
    assert Path(base).with_name("notes.where").read_text().splitlines() == ["/ -I venv", "/ -I pip"]


def test_uv_runs_elsewhere_too(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = tmp_path / "uv"
    uv.write_text(
        "#!/bin/sh\n"
        'echo "$PWD $1" >> "$NOTES"\n'
        '[ "$1" = pip ] || { for last; do :; done; mkdir -p "$last/bin"; touch "$last/bin/python"; }\n'
    )
    uv.chmod(0o700)
    monkeypatch.setattr(versions.shutil, "which", lambda name: str(uv))
    monkeypatch.chdir(tmp_path)
    versions.provide(versions.Environment("41.11", (), base), lambda line: None)
    assert calls(base) == ["/ venv", "/ pip"]


def test_a_package_of_the_folder_is_named_by_its_place(base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = Settings(python=base, deephaven_version="41.11", deephaven_packages=("./mine[all]", "mine", "a>=1"))
    environment = needs_environment(settings)
    assert environment is not None
    assert environment.packages == (f"{tmp_path}/mine[all]", "mine", "a>=1")


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


RETRYING = (
    "WARNING: Retrying (Retry(total=0, connect=None, read=None, redirect=None, status=None)) after connection broken by"
    " 'NewConnectionError('<HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection"
    " refused')': /simple/deephaven-plugin-iu/\n"
)
# As pip 23 and 25 print them.
NONE_SEEN = (
    "ERROR: Could not find a version that satisfies the requirement {0} (from versions: none)\n"
    "ERROR: No matching distribution found for {0}"
)
SOME_SEEN = NONE_SEEN.replace("none", "0.38.0, 0.39.0")
# As uv prints them, with lines as long as it likes.
UV = "  x No solution found when resolving dependencies:\n  ╰─▶ {}, we can conclude that your requirements are unsatisfiable."
UV_OFFLINE = "\n      hint: Packages were unavailable because the network was disabled. When the network is disabled, …"
UV_DNS = (
    "error: Request failed after 3 retries\n  Caused by: Failed to fetch: `https://index/simple/deephaven-server/`\n"
    "  Caused by: error sending request for url (https://index/simple/deephaven-server/)\n  Caused by: client error"
    " (Connect)\n  Caused by: dns error\n"
    "  Caused by: failed to lookup address information: Temporary failure in name resolution"
)
OFFLINE = "no package index that has .* can be reached"
MISSPELT = r"has no deephaven-plugin-iu\S* for .* are written in DH_KERNEL_DEEPHAVEN_PACKAGES"
NO_VERSION = r"has no deephaven-server 41\.11 for .* in DH_KERNEL_DEEPHAVEN_VERSION"
NEEDED = r"has no numpy\S* for .*, and it is needed. .*DH_KERNEL_PYTHON"


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (NONE_SEEN.format("deephaven-plugin-iu"), MISSPELT),
        (NONE_SEEN.format("Deephaven_plugin.iu>=2"), MISSPELT.replace("deephaven-plugin-iu", "Deephaven_plugin.iu")),
        (RETRYING + NONE_SEEN.format("deephaven-plugin-iu"), OFFLINE),
        (RETRYING + SOME_SEEN.format("deephaven-server==41.11"), NO_VERSION),
        (SOME_SEEN.format("deephaven-server==41.11"), NO_VERSION),
        (NONE_SEEN.format("numpy>=9"), NEEDED),
        (UV.format("Because deephaven-plugin-iu was not found in the package\n      registry and you require it"), MISSPELT),
        (UV.format("Because there is no version of deephaven-server==41.11 and you require it"), NO_VERSION),
        (UV.format("Because only numpy<9 is available and deephaven-server==41.11 depends on numpy>=9"), NEEDED),
        (UV.format("Because deephaven-server==41.11 has no wheels with a matching Python ABI tag"), NO_VERSION),
        (UV.format("Because deephaven-server was not found in the cache and you require it") + UV_OFFLINE, OFFLINE),
        (UV_DNS, OFFLINE),
        (
            UV.format("Because a was not found in the package registry") + "\n hint: An index URL could not be queried due to",
            "could not be queried",
        ),
    ],
)
def test_an_unknown_package_is_told_from_an_index_out_of_reach(output: str, said: str) -> None:
    environment = versions.Environment("41.11", ("deephaven-plugin-iu>=0.1",), "/usr/bin/python3")
    assert re.search(said, versions._why(environment, output.splitlines()))


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
