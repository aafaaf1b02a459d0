"""Where the tests of the run command run: `launched` starts a server for each run, `attached` uses the vanilla one."""

from __future__ import annotations

from pathlib import Path

import pytest
from batching import Runs
from harness import HEAP, Place, Vanilla


@pytest.fixture
def launched(place: Place, tmp_path: Path) -> Runs:
    """Runs on a fresh server each."""
    return Runs(tmp_path, {**place.environ, "DH_KERNEL_HEAP": HEAP})


@pytest.fixture
def attached(place: Place, vanilla: Vanilla, tmp_path: Path) -> Runs:
    """Runs on the vanilla server, which takes less than starting one."""
    where = ("--host", vanilla.host, "--port", str(vanilla.port), "--auth-token-file", str(vanilla.key_file))
    return Runs(tmp_path, place.environ, where)
