"""The guardian ends a process group and removes a folder when its kernel ends, and only removes the folder once retired."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dh_kernel.server.guardian import Guardian

TIMEOUT_S = 20.0
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the guardian is for POSIX")


@pytest.fixture
def guarded() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("exists", [False, True], ids=["makes the folder", "finds the folder made"])
def test_it_kills_the_group_and_removes_the_folder(guarded: subprocess.Popen[bytes], tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "work dir"
    if exists:
        folder.mkdir()
        (folder / "file").write_text("x")
    guardian = Guardian(str(folder))
    guardian.guard(guarded.pid)
    guardian.let_go(TIMEOUT_S)
    assert guarded.wait() == -signal.SIGKILL
    assert not folder.exists()


def test_it_kills_a_stopped_process(guarded: subprocess.Popen[bytes], tmp_path: Path) -> None:
    guarded.send_signal(signal.SIGSTOP)
    guardian = Guardian(str(tmp_path / "work"))
    guardian.guard(guarded.pid)
    guardian.let_go(TIMEOUT_S)
    assert guarded.wait() == -signal.SIGKILL


def test_it_removes_the_folder_when_there_is_no_server_yet(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    Guardian(str(folder)).let_go(TIMEOUT_S)
    assert not folder.exists()


def test_retired_it_removes_the_folder_and_kills_nothing(guarded: subprocess.Popen[bytes], tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    guardian = Guardian(str(folder))
    guardian.guard(guarded.pid)
    guardian.retire(TIMEOUT_S)
    assert guarded.poll() is None
    assert not folder.exists()
