"""The archive of Java's classes, for real: it is made, the next server starts from it, and a broken one does no harm."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import shutil
from pathlib import Path

import pytest

from dh_kernel.cli import main
from dh_kernel.errors import NoJavaError
from dh_kernel.launching import archive_folder
from dh_kernel.server import LaunchOptions, ServerProcess, find_java
from dh_kernel.settings import Settings
from dh_kernel.training import Training
from dh_kernel.trial import run_cell


def java_homes() -> dict[str, str]:
    """A Java of each kind of archive that this machine has."""
    found: dict[str, str] = {}
    for home in sorted(glob.glob("/usr/lib/jvm/*")):
        with contextlib.suppress(NoJavaError):
            java = find_java(home)
            found.setdefault("ahead-of-time" if java.version >= 25 else "shared", java.home)
    return found


def started(folder: Path, java_home: str | None) -> ServerProcess:
    """A server that looks for its archive in the folder, and is ready."""
    server = ServerProcess.start(LaunchOptions(heap="1g", java_home=java_home, archives=str(folder)))
    server.wait_ready()
    return server


@pytest.mark.long
@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(b"", marks=pytest.mark.long, id="empty"),
        pytest.param(b"nothing that Java could read" * 1000, id="garbage"),
    ],
)
def test_a_broken_archive_does_no_harm(tmp_path: Path, rest: bytes) -> None:
    folder = tmp_path / "archives"
    folder.mkdir(mode=0o700)
    server = started(folder, None)
    server.stop()
    assert server.archive is not None
    assert not server.archive_used
    Path(server.archive).write_bytes(rest)
    os.chmod(server.archive, 0o600)
    server = started(folder, None)
    server.stop()
    assert server.archive_used
    assert server.endpoint is not None


ASK = """
import glob, json, jpy
from deephaven import empty_table
cache = jpy.get_type("java.lang.System").getProperty("deephaven.cacheDir")
def compiled():
    files = glob.glob(cache + "/script-session-classes/*/io/deephaven/temp/c_*/Formula.class")
    return {{file.split("/")[-2] for file in files if b"{factor} * ii" in open(file, "rb").read()}}
before = compiled()
value = empty_table(3).update("A = {factor} * ii").to_string()
with open({answer!r}, "w") as file:
    json.dump([value, sorted(compiled() - before)], file)
"""


def asked(folder: Path, answer: Path, *factors: int) -> list[tuple[str, list[str]]]:
    """What a server that has its archives in the folder says of formulas: their values, and what it has compiled for each."""
    server = started(folder, None)
    try:
        assert server.endpoint is not None
        said = []
        for factor in factors:
            code = ASK.format(factor=factor, answer=str(answer))
            assert run_cell(server.endpoint, code, launched=True, stays=True).error is None
            said.append(tuple(json.loads(answer.read_text("utf-8"))))
        return said
    finally:
        server.stop()


@pytest.mark.long
def test_a_formula_is_compiled_once_for_all_servers(tmp_path: Path) -> None:
    folder, answer = tmp_path / "archives", tmp_path / "answer"
    folder.mkdir(mode=0o700)
    for archive in glob.glob(os.path.join(archive_folder(), "*.jsa")):  # for quick starts
        shutil.copy(archive, folder)
    [(value, made)] = asked(folder, answer, 41)
    assert "82" in value
    assert len(made) == 1
    [kept] = folder.glob("formulas-*")
    assert made[0] in {path.name for path in kept.rglob("c_*")}
    assert asked(folder, answer, 41)[0] == (value, [])
    [changed] = kept.rglob(made[0])
    (changed / "Formula.class").write_bytes(b"\xca\xfe\xba\xbe and nothing else")
    again, other = asked(folder, answer, 41, 43)
    assert again == (value, made)
    assert "86" in other[0]
    assert len(other[1]) == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", ["shared", "ahead-of-time"])
def test_it_is_made_once_and_used(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = java_homes()
    if kind not in homes:
        pytest.skip("no Java with this kind of archive is installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = homes[kind]
    settings = Settings(java_home=home, heap_mb=1024)
    folder = tmp_path / "dh-kernel/archives"
    assert Training(settings).run()
    [file] = os.listdir(folder)
    assert (folder / file).stat().st_size > 10_000_000
    assert not Training(settings).run()
    server = started(folder, home)
    try:
        assert server.archive == str(folder / file)
        assert server.archive_used
        if os.path.isdir("/proc/self"):
            assert str(folder / file) in Path(f"/proc/{server.pid}/maps").read_text("utf-8")
    finally:
        server.stop()


@pytest.mark.long
def test_it_is_made_by_hand_also_where_that_failed_lately(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("DH_KERNEL_HEAP", "1g")
    settings = Settings(heap_mb=1024)
    folder = tmp_path / "dh-kernel/archives"
    server = started(folder, None)
    server.stop()
    assert server.archive is not None
    folder.mkdir(0o700, parents=True, exist_ok=True)
    Path(server.archive + ".failed").touch()
    assert not Training(settings).run()
    assert main(["archive", "make"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("1 archive of Java's classes, ")
    assert said.err.splitlines() == ["starting a server", "running a cell on a server", "writing the archive"]
    assert [str(path) for path in folder.iterdir() if path.is_file()] == [server.archive]


@pytest.mark.long
def test_a_training_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    training = Training(Settings(heap_mb=1024))
    training.stop()
    assert not training.run()
    assert not (tmp_path / "dh-kernel").exists()
