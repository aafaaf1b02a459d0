"""The line that tells where the time of a start went."""

from __future__ import annotations

import time

from dh_kernel.timings import Timings


def test_each_step_has_the_time_since_the_one_before() -> None:
    timings = Timings(100.0)
    timings.server = {"begun": 100.3, "imported": 101.3, "jvm": 102.3, "server": 104.3}
    timings.start = " (from standby)"
    for name, moment in (("spawned", 100.1), ("imported", 100.6), ("ready", 104.4), ("connected", 104.6), ("opened", 105.0)):
        timings.mark(name, moment)
    timings.mark("done", 105.5)
    assert timings.line() == (
        "start-up 5.50 s; kernel: process and settings 0.10, imports 0.50; "
        "server (from standby): process 0.20, imports 1.00, JVM 1.00, server 2.00; "
        "then: connection 0.20, runtime 0.40, first cell 0.50"
    )


def test_the_first_moment_of_a_name_counts_and_what_is_missing_is_left_out() -> None:
    timings = Timings(0.0)
    timings.mark("spawned", 1.0)
    timings.mark("spawned", 2.0)
    assert timings.line() == "start-up 1.00 s; kernel: process and settings 1.00"


def test_it_begins_with_the_process() -> None:
    now = time.monotonic()
    assert 0 < now - Timings.of_process().begun < 24 * 3600
