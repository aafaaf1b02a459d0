"""`describe` tells a user how the server ended and what to do."""

from __future__ import annotations

import signal

import pytest

from dh_kernel.model import Death
from dh_kernel.server import LaunchOptions, describe
from dh_kernel.server.death import telling, without_report

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


def test_a_crash_goes_by_the_signal_that_caused_it() -> None:
    text = describe(Death(None, signal.SIGABRT, ("#  SIGSEGV (0xb) at pc=0x00007f, pid=12, tid=13",)), OPTIONS)
    assert text.startswith("The Deephaven server ended: signal SIGSEGV (a crash in native code).")


def test_what_java_says_of_its_end_is_no_output_of_users() -> None:
    assert without_report("a\nTerminating due to java.lang.OutOfMemoryError: Java heap space\n") == "a\n"
    assert without_report("#\n# A fatal error has been detected by the Java Runtime Environment:\n#\n#  SIGSEGV") == ""
    assert without_report("# mine\n") == "# mine\n"


def test_frames_and_a_crashed_jvms_advice_are_no_telling_lines() -> None:
    log = """1 compiler directives added
deephaven.cacheDir=/tmp/x/cache
#
# A fatal error has been detected by the Java Runtime Environment:
#
#  SIGSEGV (0xb) at pc=0x00007f, pid=12, tid=13
# Problematic frame:
# C  [_ctypes.so+0x123]
# No core dump will be written. Core dumps have been disabled. To enable core dumping, try "ulimit -c unlimited"
# An error report file with more information is saved as:
# /tmp/x/hs_err.log
[thread 25170 also had an error]
# If you would like to submit a bug report, please visit:
#   https://example.org
java.lang.IllegalStateException: no
\tat java.base/java.lang.Thread.run(Thread.java:840)
\t... 1 more""".splitlines()
    assert telling(log) == (
        "# A fatal error has been detected by the Java Runtime Environment:",
        "#  SIGSEGV (0xb) at pc=0x00007f, pid=12, tid=13",
        "# Problematic frame:",
        "# C  [_ctypes.so+0x123]",
        "java.lang.IllegalStateException: no",
    )
