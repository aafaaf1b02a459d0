"""Tables that take long, and many of them: the notebook goes on, and its file stays small."""

from __future__ import annotations

from typing import Any

import pytest
from harness import Kernel, Run, wait_until

DATARESOURCE = "application/vnd.dataresource+json"
SLOW = """
import threading
from deephaven import empty_table
go = threading.Event()
def held(x: int) -> int:
    go.wait(60)
    return x + 1000
"""


def begin(kernel: Kernel, code: str, *, cell_id: str | None) -> Run:
    """Send a cell as JupyterLab does, which names it, or as consoles do."""
    content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
    return kernel.send_message("execute_request", content, metadata={} if cell_id is None else {"cellId": cell_id})


def shown(run: Run) -> list[dict[str, Any]]:
    return [content["data"] for kind in ("display_data", "execute_result") for content in run.contents(kind)]


@pytest.mark.long
@pytest.mark.parametrize("assigned", ["slow = ", ""])
def test_a_slow_table_shows_its_columns_first_and_holds_nothing_up(launched_kernel: Kernel, assigned: str) -> None:
    kernel = launched_kernel
    kernel.ok(SLOW)
    first = kernel.finish(begin(kernel, f"{assigned}empty_table(3).update_view('X = held(i)')", cell_id="a"))
    (shell,) = first.contents("display_data")
    assert "X" in shell["data"]["text/plain"]
    assert "the rows are being read" in shell["data"]["text/plain"]
    assert first.contents("update_display_data") == []
    second = kernel.ok("print('went on'); go.set()")
    assert second.text() == "went on\n"
    kernel.wait(lambda: bool(first.contents("update_display_data")), "the rows")
    (update,) = first.contents("update_display_data")
    assert update["transient"]["display_id"] == shell["transient"]["display_id"]
    assert [row["X"] for row in update["data"][DATARESOURCE]["data"]] == [1000, 1001, 1002]


def test_a_slow_table_that_fails_is_told_with_its_reason(launched_kernel: Kernel) -> None:
    kernel = launched_kernel
    kernel.ok(SLOW)
    code = "slow_bad = empty_table(3).update_view('X = held(i) + Integer.parseInt(`x` + i)')"
    run = kernel.finish(begin(kernel, code, cell_id="bad"))
    kernel.ok("go.set()")
    kernel.wait(lambda: bool(run.contents("update_display_data")), "the reason")
    (update,) = run.contents("update_display_data")
    assert "rows could not be read: column X: " in update["data"]["text/plain"]
    assert "NumberFormatException" in update["data"]["text/plain"]


def test_who_cannot_update_gets_the_rows_at_once(launched_kernel: Kernel) -> None:
    """A console, or a program that runs a notebook: what it is told later it drops."""
    kernel = launched_kernel
    kernel.ok(SLOW)
    kernel.ok("threading.Timer(3, go.set).start()")
    run = kernel.finish(begin(kernel, "slow = empty_table(3).update_view('X = held(i)')", cell_id=None))
    assert run.kinds.count("display_data") == 1
    assert "1002" in run.bundles[0]["text/plain"]


@pytest.mark.parametrize(
    ("formula", "reason"),
    [("X = Integer.parseInt(`x` + i)", "NumberFormatException"), ("X = (int) boom(i)", "ValueError: not today")],
)
def test_a_formula_that_fails_is_told_with_its_reason(launched_kernel: Kernel, formula: str, reason: str) -> None:
    kernel = launched_kernel
    kernel.ok("from deephaven import empty_table\ndef boom(x: int) -> int: raise ValueError('not today')")
    run = kernel.ok(f"failing = empty_table(5).update_view({formula!r})")
    (bundle,) = run.bundles
    assert "failing — 5 rows × 1 column" in bundle["text/plain"]  # noqa: RUF001
    assert "rows could not be read: column X: " in bundle["text/plain"]
    assert reason in bundle["text/plain"]


@pytest.mark.long
def test_a_thousand_tables_in_one_cell(launched_kernel: Kernel) -> None:
    """A megabyte of output, and a line about the rest."""
    kernel = launched_kernel
    kernel.ok("from deephaven import empty_table\nwide = empty_table(100).update([f'C{n} = `value ` + i' for n in range(20)])")
    run = kernel.ok("for n in range(1000): globals()[f'many_{n:04}'] = wide.where(f'true')")
    size = sum(len(str(bundle)) for bundle in run.bundles)
    assert size < 1_100_000
    last = run.bundles[-1]["text/plain"]
    assert " more tables" in last
    assert "many_" in last
    count = int(last.split()[0].replace(",", ""))
    assert len(run.bundles) - 1 + count == 1000
    kernel.ok("for n in range(1000): del globals()[f'many_{n:04}']")


def test_the_kernel_lets_go_of_tables_that_it_does_not_show(launched_kernel: Kernel) -> None:
    """Their rows are no longer held on the server: the runtime's excerpts are gone once the cell is over."""
    kernel = launched_kernel
    kernel.ok("import gc, weakref\nfrom deephaven import empty_table, time_table\nfrom deephaven.table import Table")
    names = "sum(type(each) is Table for each in gc.get_objects())"

    def held() -> int:
        run = kernel.ok(f"gc.collect(); {names}")
        assert run.result is not None
        return int(run.result["text/plain"])

    before = held()
    kernel.ok("for n in range(50): globals()[f'tick_{n}'] = time_table('PT1S')")
    kernel.ok("for n in range(50): del globals()[f'tick_{n}']")
    wait_until(lambda: held() <= before, "no excerpt is left")


@pytest.mark.long
def test_what_is_left_out_does_not_follow_its_table(launched_kernel: Kernel) -> None:
    kernel = launched_kernel
    kernel.ok("from deephaven import time_table\n%dh set live_outputs 500")
    kernel.ok("_ticking = time_table('PT1s').update([f'C{n} = `value ` + ii' for n in range(20)])")
    run = kernel.ok("for n in range(150): globals()[f'live_{n:03}'] = _ticking.where('true')")
    shown_count = len(run.bundles) - 1
    assert f"{150 - shown_count} more tables" in run.bundles[-1]["text/plain"]

    def live() -> int:
        return kernel.ok("%dh live").bundles[0]["text/plain"].count("live_")

    wait_until(lambda: live() == shown_count, "only what shows is live")
    kernel.ok("for n in range(150): del globals()[f'live_{n:03}']\ndel _ticking\n%dh set live_outputs 20")
