"""The archive of Java's classes, for real: it is made, the next server starts from it, and a broken one does no harm."""

from __future__ import annotations

import contextlib
import glob
import os
from pathlib import Path

import pytest

from dh_kernel.cli import main
from dh_kernel.errors import NoJavaError
from dh_kernel.server import LaunchOptions, ServerProcess, find_java
from dh_kernel.settings import Settings
from dh_kernel.training import Training


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
    assert [str(path) for path in folder.iterdir()] == [server.archive]


@pytest.mark.long
def test_a_training_that_is_stopped_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    training = Training(Settings(heap_mb=1024))
    training.stop()
    assert not training.run()
    assert not (tmp_path / "dh-kernel").exists()
