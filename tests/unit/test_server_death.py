"""`describe` tells a user how the server ended and what to do."""

from __future__ import annotations

import signal

import pytest

from dh_kernel.model import Death
from dh_kernel.server import LaunchOptions, describe

OPTIONS = LaunchOptions(heap="3g")


def test_exit_code_and_last_lines() -> None:
    text = describe(Death(7, None, ("first", "second")), OPTIONS)
    assert text == "The Deephaven server ended: exit code 7.\nThe last lines of its log:\n  first\n  second"


def test_only_the_last_of_many_lines_are_shown() -> None:
    text = describe(Death(1, None, tuple(f"line {n}" for n in range(100))), OPTIONS)
    assert "line 99" in text
    assert "line 50" not in text


def test_nothing_is_said_of_a_log_that_is_empty() -> None:
    assert "log" not in describe(Death(1, None, ()), OPTIONS)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the platform has no SIGKILL")
def test_kill_names_the_likely_reason_and_the_setting() -> None:
    text = describe(Death(None, signal.SIGKILL, ()), OPTIONS)
    assert "SIGKILL (killed; the machine may have run out of memory)" in text
    assert "DH_KERNEL_HEAP" in text
    assert "3g" in text


def test_other_signals_go_by_name() -> None:
    assert "SIGSEGV (a crash in native code)" in describe(Death(None, signal.SIGSEGV, ()), OPTIONS)
    assert "signal 250" in describe(Death(None, 250, ()), OPTIONS)


def test_out_of_memory_names_heap_and_setting() -> None:
    text = describe(Death(1, None, ("java.lang.OutOfMemoryError: Java heap space",), out_of_memory=True), OPTIONS)
    assert "out of memory" in text
    assert "heap of 3g was full: set DH_KERNEL_HEAP to more" in text
    assert "OutOfMemoryError" in text
