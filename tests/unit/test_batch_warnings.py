"""What a run says of its own while it starts, with a kernel that is none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dh_kernel.batch import runner
from dh_kernel.batch.app import _ahead
from dh_kernel.batch.command import Order
from dh_kernel.batch.runner import Runner
from dh_kernel.batch.writing import Notes
from dh_kernel.versions import Environment

WARNING = "The key file /key can be read by other users: chmod 600 /key"


class FakeConversation:
    """A kernel that is ready, and has something to say of its settings."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def listen(self) -> None:
        """There is nothing to hear."""

    async def execute(self, code: str, **options: Any) -> dict[str, Any]:
        return {"status": "ok"}

    async def kernel_info(self) -> dict[str, Any]:
        return {"deephaven": {"version": "1", "host": "h", "port": 1, "java_home": None, "warnings": [WARNING]}}


class FakeKernel:
    """Starts at once."""

    async def start(self) -> None:
        pass

    async def wait_for_death(self) -> None:
        pass


async def started(monkeypatch: pytest.MonkeyPatch, *, quiet: bool) -> tuple[str, dict[str, Any]]:
    """What has been written once there is a server, and how the server was reported. Stderr is no terminal."""
    monkeypatch.setattr(runner, "Conversation", FakeConversation)
    written: list[bytes] = []
    reported: list[dict[str, Any]] = []
    writer: Any = SimpleNamespace(put=lambda descriptor, data: written.append(data))
    report: Any = SimpleNamespace(server=lambda server, seconds: reported.append(server), for_notebooks=lambda: None)
    notes = Notes(writer, "dh-kernel run", lines=False, bars=False)
    made = Runner(Order((), quiet=quiet), FakeKernel(), report, writer, notes, 0.0)
    assert await made._start() is None
    return b"".join(written).decode(), reported[0]


async def test_warnings_about_the_settings_are_a_line_on_stderr_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nobody looks on; they are no part of what the code puts out, nor of the report."""
    said, server = await started(monkeypatch, quiet=False)
    assert said == f"dh-kernel run: {WARNING}\n"
    assert "warnings" not in server


async def test_a_quiet_run_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await started(monkeypatch, quiet=True))[0] == ""


def test_an_installation_that_comes_first_is_announced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dh_kernel.versions.folder", lambda: str(tmp_path))
    assert list(_ahead(Order(()))) == []
    order = Order((), settings={"deephaven_version": ["41.11"]})
    assert list(_ahead(order)) == ["installing Deephaven 41.11 first: that is done once, and takes minutes"]
    python = Path(Environment("41.11", (), sys.executable).python)
    python.parent.mkdir(parents=True)
    python.touch()
    assert list(_ahead(order)) == []
