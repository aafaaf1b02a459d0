"""A server's folder: swept once its owner is gone, never before; and the heap that suits a machine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dh_kernel.server import default_heap, workdir
from dh_kernel.server.options import GIB, MIB, heap_for


def folder_of(pid: int, started: str | None, parent: Path) -> Path:
    """A folder as the process with this pid and start time would make it."""
    name = os.path.basename(workdir.new_path(str(parent)))
    prefix, machine, _, _, random = name.rsplit("-", 4)
    path = parent / "-".join((prefix, machine, str(pid), str(started), random))
    path.mkdir()
    (path / "cache").mkdir()
    (path / "cache" / "file").write_text("x")
    return path


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_folder_of_a_dead_owner_is_swept(tmp_path: Path) -> None:
    stale = folder_of(dead_pid(), "1", tmp_path)
    assert workdir.sweep(str(tmp_path)) == [str(stale)]
    assert list(tmp_path.iterdir()) == []


def test_folder_of_a_living_owner_stays(tmp_path: Path) -> None:
    own = Path(workdir.new_path(str(tmp_path)))
    own.mkdir()
    assert workdir.sweep(str(tmp_path)) == []
    assert own.is_dir()


@pytest.mark.skipif(
    workdir.start_time(os.getpid()) is None, reason="the system does not tell when a process started (no /proc)"
)
def test_folder_is_swept_when_another_process_has_the_owners_pid(tmp_path: Path) -> None:
    stale = folder_of(os.getpid(), "1", tmp_path)
    assert workdir.sweep(str(tmp_path)) == [str(stale)]


def test_folders_of_other_machines_and_other_programs_stay(tmp_path: Path) -> None:
    for name in ("dh-kernel-0000000g-1-1-aa", "dh-kernel-notes", "dh-kernel-x-y-z-w", "other"):
        (tmp_path / name).mkdir()
    assert workdir.sweep(str(tmp_path)) == []
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("memory", "heap"),
    [
        (None, 4 * GIB),
        (GIB // 2, GIB),
        (4 * GIB, 2 * GIB),
        (8 * GIB, 4 * GIB),
        (16 * GIB, 4 * GIB),
        (64 * GIB, 16 * GIB),
        (1024 * GIB, 31 * GIB),
    ],
)
def test_heap_grows_with_the_memory(memory: int | None, heap: int) -> None:
    assert heap_for(memory) == heap


def test_default_heap_is_what_a_jvm_takes() -> None:
    assert default_heap().endswith("m")
    assert int(default_heap()[:-1]) * MIB >= GIB
