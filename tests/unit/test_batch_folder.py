"""A run's own folder, and those of runs that were killed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dh_kernel.batch.kernels import Folder

_KILLED = "import os\nfrom dh_kernel.batch.kernels import Folder\nprint(Folder().path, flush=True)\nos.kill(os.getpid(), 9)"


def test_a_folder_that_a_killed_run_has_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environ = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run([sys.executable, "-c", _KILLED], capture_output=True, text=True, env=environ, check=False)
    left = Path(killed.stdout.strip())
    first = Folder()
    assert left.is_dir()  # it is young: its run may just begin
    for path in (left, first.path):
        os.utime(path, (1, 1))
    second = Folder()
    assert not left.exists()
    assert first.path.is_dir()  # its run goes on
    first.remove()
    second.remove()
    assert list(tmp_path.iterdir()) == []
