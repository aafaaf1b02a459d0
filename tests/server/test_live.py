"""Outputs that follow their tables, on real servers: when they are updated, with what, when they end, and what they leave."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from sessions import Client, Kind, Run, until

from dh_kernel.render import table_bundle
from dh_kernel.session.events import LiveUpdate, TableShown

PREPARE = """
import gc, threading, time
import jpy
from deephaven import empty_table, input_table, new_table, time_table
from deephaven import dtypes as dht
from deephaven.column import int_col
_graph = jpy.get_type("io.deephaven.engine.context.ExecutionContext").getContext().getUpdateGraph()
_graph = jpy.cast(_graph, jpy.get_type("io.deephaven.engine.updategraph.impl.PeriodicUpdateGraph"))
_graph.setTargetCycleDurationMillis(50)
def grown(*values):
    table = input_table(col_defs={"X": dht.int32})
    for value in values: add(table, value)
    return table
def add(table, value):
    table.add(new_table([int_col("X", [value])]))
def collected():
    gc.collect()
    jpy.get_type("java.lang.System").gc()
    return _graph.sourceCount()
def listeners():
    gc.collect()
    return sum(type(each).__name__ == "Listening" for each in gc.get_objects())
"""
REFERENCES = "jpy.get_type('io.deephaven.util.referencecounting.ReferenceCounted').getReferenceCountDebug(lt_leak.j_object)"
FAST = {"live_interval_s": 0.1}


@pytest.fixture(scope="module", params=["vanilla", pytest.param("launched", marks=pytest.mark.long)])
def kind(request: pytest.FixtureRequest) -> Kind:
    """A server without IPython; one with it is tested by hand, and in `tests/protocol`, since nothing here depends on it."""
    found: Kind = request.getfixturevalue(f"{request.param}_kind")
    return found


@pytest.fixture
def client(kind: Kind) -> Iterator[Client]:
    """A session whose live outputs are quick, on a server whose tables are."""
    made = kind.open(tables=FAST)
    made.ok(PREPARE)
    yield made
    made.run("for _n in [n for n in globals() if n.startswith('lt_')]: del globals()[_n]\n%dh live stop")
    made.ok("_graph.setTargetCycleDurationMillis(1000)")
    made.close()


def table_of(run: Run) -> TableShown:
    (table,) = run.tables
    assert table.how.live
    assert table.how.display_id
    return table


def ended(update: LiveUpdate) -> bool:
    return update.ended is not None


def values(client: Client, update: LiveUpdate) -> list[Any]:
    made = client.session.preview(update.table)
    assert made.data is not None, made.problem
    return list(made.data.column("X").to_pylist())


def lab_cell(client: Client, code: str, cell_id: str) -> Run:
    """Run a cell as JupyterLab does."""
    return client.ok(code, cell_meta={"cellId": cell_id}, allow_stdin=True)


@pytest.mark.parametrize("code", ["lt_a = grown(1)", "lt_a = grown(1)\nlt_a", "grown(1)", "display(grown(1))"])
def test_an_output_follows_its_table(client: Client, code: str) -> None:
    """Assigned, result, unnamed, displayed: each has one output, which is updated, also while no cell runs."""
    table = table_of(
        lab_cell(
            client,
            f"_made = []\n_grown = grown\ndef grown(*v):\n    _made.append(_grown(*v))\n    return _made[-1]\n{code}",
            "a",
        )
    )
    lab_cell(client, "add(_made[0], 7)\ngrown = _grown", "b")
    update = client.wait_for_update(table, lambda update: update.table.info.rows == 2)
    assert values(client, update) == [1, 7]
    assert update.table.info.name == table.info.name
    assert update.ended is None


def test_an_update_has_the_rows_that_flight_gives(client: Client) -> None:
    """The same Arrow types and values come inside the frame, of whatever type the columns are."""
    table = table_of(
        client.ok(
            "lt_types = time_table('PT0.05s').tail(1).view(['I = (int) 1', 'L = Long.MIN_VALUE', 'D = 0.1', 'F = Float.NaN',"
            " 'S = `a€` + null', 'C = (char) 66', 'B = true', 'Y = (byte) 3', 'T = epochNanosToInstant(1700000000123456789L)',"
            " 'BD = new java.math.BigDecimal(`12.50`)', 'A = new int[]{1, 2}', 'LT = parseLocalTime(`10:00:00`)',"
            " 'LD = parseLocalDate(`2020-01-02`)', 'Z = toZonedDateTime(epochNanosToInstant(0), timeZone(`UTC`))',"
            " 'P = parsePeriod(`P1D`)', 'N = (String) null'])\nwhile not lt_types.size: time.sleep(0.05)\n",
            allow_stdin=True,
        )
    )
    over_flight = client.preview(table).data
    update = client.wait_for_update(table, lambda update: update.table.info.rows == 1)
    in_frame = client.session.preview(update.table).data
    assert over_flight is not None
    assert in_frame is not None
    assert in_frame.schema.equals(over_flight.schema, check_metadata=True)
    without_nan = [name for name in over_flight.column_names if name != "F"]
    assert in_frame.select(without_nan).equals(over_flight.select(without_nan))
    assert update.table.info == table.info


def test_nothing_travels_while_nothing_ticks(client: Client) -> None:
    table = table_of(client.ok("lt_quiet = grown(1, 2)"))
    before = client.settled_bytes()
    assert client.updates(table) == []
    client.ok("add(lt_quiet, 3)")
    client.wait_for_update(table)
    assert client.settled_bytes() > before
    assert len(client.updates(table)) == 1, "one change, one update"


def test_updates_are_as_far_apart_as_is_set(client: Client) -> None:
    client.ok("%dh set live_interval_s 0.4")
    table = table_of(client.ok("lt_often = time_table('PT0.01s')"))
    client.wait(lambda: len(client.updates(table)) >= 4, "four updates")
    times = [update.taken for update in client.updates(table)]
    assert all(later - earlier > 0.39 for earlier, later in itertools.pairwise(times))
    assert {update.ended for update in client.updates(table)} == {None}


def test_one_update_is_under_way_at_a_time(client: Client) -> None:
    """A kernel that is slow gets the latest state when it is ready for it, and no queue of earlier ones."""
    client.shows_live = False
    run = client.ok("lt_slow = time_table('PT0.01s')", allow_stdin=True)
    table = table_of(run)
    ticks = "n = lt_slow.size\nwhile lt_slow.size < n + 30: time.sleep(0.02)"
    client.ok(ticks, allow_stdin=True)
    assert client.updates(table) == [], "the table itself has not been shown"
    client.show_live(table)
    first = client.wait_for_update(table)
    client.ok(ticks, allow_stdin=True)
    assert client.updates(table) == [first]
    client.shows_live = True
    client.session.send("live_shown", outputs=[table.how.display_id])
    second = client.wait_for_update(table, lambda update: update is not first)
    assert first.table.info.rows is not None
    assert second.table.info.rows is not None
    assert second.table.info.rows >= first.table.info.rows + 30


def test_updates_come_while_a_cell_runs(client: Client) -> None:
    table = table_of(client.ok("lt_tick = time_table('PT0.05s')"))
    run = client.send("print('begun')\nthreading.Event().wait(30)", allow_stdin=True)
    client.wait_for_text(run, "begun")
    count = len(client.updates(table))
    client.wait(lambda: len(client.updates(table)) >= count + 3, "three more updates")
    assert run.done is None
    client.interrupt(run)
    client.finish(run)


def test_a_program_gets_the_last_state_before_the_reply(client: Client) -> None:
    """Who runs a notebook looks at nothing behind a cell's reply, and only at what is the cell's."""
    client.ok("%dh set live_interval_s 60")
    table = table_of(client.ok("lt_end = grown(1)"))
    run = client.ok("add(lt_end, 2)\nwhile lt_end.size < 2: time.sleep(0.01)\n'result'")
    (update,) = client.updates(table)
    kinds = [type(event).__name__ for event in run.events]
    assert kinds == ["Resulted", "LiveUpdated", "CellDone"]
    assert values(client, update) == [1, 2]


def test_it_ends_when_its_cell_runs_again(client: Client) -> None:
    table = table_of(lab_cell(client, "lt_again = grown(1)\nlt_again", "same"))
    other = table_of(lab_cell(client, "lt_other = grown(1)", "other"))
    again = table_of(lab_cell(client, "lt_again", "same"))
    last = client.wait_for_update(table, ended)
    assert last.ended == "the cell ran again"
    lab_cell(client, "add(lt_again, 2); add(lt_other, 3)", "third")
    client.wait_for_update(again, lambda update: update.table.info.rows == 2)
    client.wait_for_update(other, lambda update: update.table.info.rows == 2)
    assert client.updates(table)[-1] is last


def test_it_ends_when_its_variable_holds_another_table(client: Client) -> None:
    table = table_of(client.ok("lt_var = grown(1)"))
    client.ok("lt_var = None")
    last = client.wait_for_update(table, ended)
    assert last.ended == "the variable no longer holds the table"
    assert values(client, last) == [1]


def test_it_ends_when_its_table_fails(client: Client) -> None:
    """The output then tells the error."""
    client.ok("lt_in = grown(1);")
    table = table_of(client.ok("lt_bad = lt_in.update('Y = `abc`.charAt(X)')"))
    client.ok("add(lt_in, 50)")
    last = client.wait_for_update(table, ended)
    assert last.ended == "the table has failed"
    assert "StringIndexOutOfBounds" in str(client.session.preview(last.table).problem)
    assert client.value("1 + 1") == "2"


def test_a_quick_table_fails_between_two_updates(client: Client) -> None:
    """The listener for changes is off then; the output tells the error all the same, and so does the next one."""
    client.ok("%dh set live_interval_s 60")
    table = table_of(client.ok("lt_quick = time_table('PT0.01s').update('Y = ii < 60 ? 1 : (int) `a`.charAt((int) ii)')"))
    last = client.wait_for_update(table, ended)
    assert last.ended == "the table has failed"
    assert "StringIndexOutOfBounds" in str(client.session.preview(last.table).problem)
    assert "StringIndexOutOfBounds" in str(client.preview(client.ok("lt_quick").tables[0]).problem)


KINDS = [
    "lt_src.rollup([agg.max_('V')], by=['K'])",
    "lt_src.tree('Id', 'Parent')",
    "lt_src.partition_by('K')",
    "lt_src.partition_by('K').proxy()",
]


@pytest.mark.parametrize("code", KINDS)
def test_what_is_made_of_tables_follows_them(client: Client, code: str) -> None:
    """Rollups, trees, partitioned tables: a key that is new, and a row whose key is known."""
    client.ok(
        "from deephaven import agg\nlt_in = grown(1);\n"
        "lt_src = lt_in.update(['K = X % 2', 'V = X', 'Id = X', 'Parent = X == 1 ? NULL_INT : 1']);"
    )
    table = table_of(client.ok(f"lt_kind = {code}"))
    rows = table.info.rows or 0
    client.ok("add(lt_in, 4)")
    first = client.wait_for_update(table, lambda update: (update.table.info.rows or 0) > rows)
    client.ok("add(lt_in, 6)")
    client.wait_for_update(
        table, lambda update: shown(client, update) != shown(client, first) and "6" in shown(client, update)
    )
    client.ok("del lt_kind")
    assert client.wait_for_update(table, ended).ended == "the variable no longer holds the table"


def shown(client: Client, update: LiveUpdate) -> str:
    """The text of an update without the time."""
    return str(table_bundle(client.session.preview(update.table))["text/plain"]).replace("snapshot", "\n")


def test_a_kind_that_is_displayed_is_held(client: Client) -> None:
    """Nothing but the output has it; once that ends nothing listens."""
    client.ok("from deephaven import agg")
    tables = []
    for method in ("rollup([agg.max_('V')], by=['K'])", "partition_by('K')"):
        run = client.ok(f"display(time_table('PT0.05s').update(['K = ii % 2', 'V = ii']).{method})", allow_stdin=True)
        assert client.preview(run.tables[0]).problem is None
        tables.append(table_of(run))
    client.ok("gc.collect()")
    for table in tables:
        count = len(client.updates(table))
        client.wait(lambda: len(client.updates(table)) > count + 2, "more updates")  # noqa: B023
        assert {client.session.preview(update.table).problem for update in client.updates(table)} == {None}
    client.ok("%dh live stop")
    until(lambda: client.value("listeners()") == "0", "no listener is left")


def test_a_rollup_whose_source_fails_tells_why(client: Client) -> None:
    client.ok("from deephaven import agg\nlt_in = grown(1);\nlt_src = lt_in.update(['K = 1', 'Y = (int) `abc`.charAt(X)']);")
    table = table_of(client.ok("lt_rollup = lt_src.rollup([agg.max_('Y')], by=['K'])"))
    client.ok("add(lt_in, 50)")
    last = client.wait_for_update(table, ended)
    assert "StringIndexOutOfBounds" in str(client.session.preview(last.table).problem)
    assert "StringIndexOutOfBounds" in str(client.preview(client.ok("lt_rollup").tables[0]).problem)


def test_tables_that_a_loop_displays_are_live_all(client: Client) -> None:
    """Nothing but the outputs has the first ones; they are let go when the outputs end."""
    run = client.ok("for lt_loop in (time_table('PT0.05s') for _ in range(3)): display(lt_loop)", show_tables=False)
    for table in run.tables:
        assert client.wait_for_update(table).ended is None
    client.ok("lt_loop = None")
    assert client.wait_for_update(run.tables[2], ended).ended == "the variable no longer holds the table"
    assert client.ok("%dh live").displays[0].data["text/plain"].count("lt_loop") == 2


def test_it_ends_after_its_time(client: Client) -> None:
    client.ok("%dh set live_time_s 0.5")
    table = table_of(client.ok("lt_time = grown(1)"))
    assert client.wait_for_update(table, ended).ended == "its time was over"
    client.ok("add(lt_time, 2)\nwhile lt_time.size < 2: time.sleep(0.01)")
    assert len(client.updates(table)) == 1


def test_the_latest_ones_are_live(client: Client) -> None:
    client.ok("%dh set live_outputs 2")
    tables = [table_of(client.ok(f"lt_n{n} = grown({n})")) for n in range(3)]
    assert client.wait_for_update(tables[0], ended).ended == "later outputs took its turn"
    client.ok("for _t in (lt_n0, lt_n1, lt_n2): add(_t, 9)")
    for table in tables[1:]:
        client.wait_for_update(table, lambda update: update.table.info.rows == 2 and not update.ended)


def test_it_ends_on_request_and_when_its_output_is_cleared(client: Client) -> None:
    one, two = (table_of(client.ok(f"lt_{n} = grown(1)")) for n in ("one", "two"))
    assert "There are no such live outputs" in client.ok("%dh live stop lt_three").text()
    assert client.ok("%dh live stop lt_two").text() == "Stopped: lt_two.\n"
    assert client.wait_for_update(two, ended).ended == "stopped by %dh live stop"
    listing = client.ok("%dh live").displays[0].data["text/plain"]
    assert "lt_one" in listing
    assert "lt_two" not in listing
    client.ok("from dh_kernel.display import clear_output\ndisplay(lt_two)\nclear_output()")
    assert client.ok("%dh live stop").text() == "Stopped: lt_one.\n"
    assert client.wait_for_update(one, ended)


def test_a_display_that_is_replaced(client: Client) -> None:
    """A table in the place of another is a fresh output under the same name; of anything else nothing is live."""
    client.ok("from dh_kernel.display import display, update_display\nlt_x, lt_y = grown(1), grown(2)", show_tables=False)
    table = client.ok("display(lt_x, display_id='it');").tables[0]
    assert (table.how.display_id, table.how.live, table.how.update) == ("it", True, False)
    replaced = client.ok("update_display(lt_y, display_id='it')").tables[0]
    assert (replaced.how.display_id, replaced.how.live, replaced.how.update) == ("it", True, True)
    client.ok("add(lt_y, 3)")
    update = client.wait_for_update(table, lambda update: update.table.info.rows == 2)
    assert values(client, update) == [2, 3]
    client.ok("update_display('text', display_id='it')")
    assert client.ok("%dh live stop").text() == "There are no such live outputs.\n"


def test_nothing_is_live_where_nobody_wants_it(client: Client) -> None:
    assert client.ok("%dh set live off\nlt_off = grown(1)").tables[0].how.live is False
    assert client.ok("%dh show lt_off --live").tables[0].how.live is True
    assert client.ok("%dh set live on\n%dh show lt_off --static").tables[0].how.live is False
    assert client.ok("lt_still = empty_table(3)").tables[0].how.live is False


@pytest.mark.long
def test_tables_that_are_replaced_stop_ticking(client: Client) -> None:
    until(lambda: client.value("collected()") == client.value("collected()"), "a quiet start")
    before = int(client.value("collected()"))
    for _ in range(15):
        run = client.ok("lt_leak = time_table('PT0.05s').update('Y = ii * 2')\ndisplay(lt_leak)")
        assert [client.preview(table).problem for table in run.tables] == [None, None]
    until(lambda: int(client.value("collected()")) <= before + 1, "fourteen of fifteen released", 30)


@pytest.mark.parametrize("made", ["", ".partition_by('K')", ".rollup([agg.max_('Y')], by=['K'])"])
def test_many_live_outputs_leave_nothing(client: Client, made: str) -> None:
    """Those that stay lose their listeners."""
    client.ok("from deephaven import agg")
    client.ok(f"lt_leak = time_table('PT0.05s').update(['Y = ii * 2', 'K = ii % 2']){made}", show_tables=False)
    references = client.value(REFERENCES)
    for _ in range(5):
        for table in client.ok("for _ in range(10): display(lt_leak)").tables:
            client.preview(table)
    client.ok("%dh live stop")
    until(lambda: client.value("listeners()") == "0", "no listener is left")
    assert client.value(REFERENCES) == references


def test_a_session_that_ends_takes_its_listeners_with_it(kind: Kind, client: Client) -> None:
    other = kind.open(tables=FAST)
    table = table_of(other.ok("lt_kept = grown(1)"))
    assert client.value("listeners()") == "1"
    other.close()
    until(lambda: client.value("listeners()") == "0", "the end of the other session's listener")
    assert other.updates(table) == []
    client.ok("add(lt_kept, 2)")
