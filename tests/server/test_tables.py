"""Tables on real servers of each kind: which ones a cell shows, what they say of themselves, and what stays alive."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from sessions import Client, Console, Kind, until

from dh_kernel.model import Column, TablePreview
from dh_kernel.session.events import TableShown

MIB = 1 << 20


@pytest.fixture
def client(kind: Kind) -> Iterator[Client]:
    """A session with the imports that all tests need, and a helper."""
    made = kind.open()
    made.ok(
        "from deephaven import empty_table, time_table\nimport jpy, gc\ndef et(n=3): return empty_table(n).update('X = i')"
    )
    yield made
    made.run("for _n in [n for n, v in globals().items() if n.startswith('tt_')]: del globals()[_n]")
    made.close()


def test_other_clients_are_told_of_a_new_table(client: Client, console: Console, fresh: str) -> None:
    """The list that the web UI subscribes to has it, though no console script ran."""
    changes = console.session.app_service.list_fields()
    told: set[str] = set()
    next(changes)

    def listen() -> None:
        with contextlib.suppress(grpc.RpcError):  # cancelled at the end
            for change in changes:
                told.update(field.field_name for field in change.created)

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        client.ok(f"tt_{fresh} = et()")
        until(lambda: f"tt_{fresh}" in told, "the new table's name in the list of fields")
    finally:
        changes.cancel()
        listener.join()


def preview(client: Client, table: TableShown) -> TablePreview:
    return client.preview(table)


def rows(client: Client, table: TableShown) -> list[dict[str, object]]:
    made = preview(client, table)
    assert made.data is not None, made.problem
    found: list[dict[str, object]] = made.data.to_pylist()
    return found


ASSIGNMENTS = {
    "in order": ("tt_b = et()\ntt_a = et()", ["tt_b", "tt_a"]),
    "unpacked": ("tt_a, (tt_b, _) = et(), (et(), 1)", ["tt_a", "tt_b"]),
    "globals": ("globals()['tt_g'] = et()", ["tt_g"]),
    "exec": ("exec('tt_e = et()')", ["tt_e"]),
    "loop": ("for i in range(3): globals()[f'tt_{i}'] = et()", ["tt_0", "tt_1", "tt_2"]),
    "loop variable": ("for tt_v in [et(), et()]: pass", ["tt_v"]),
    "function": ("def make():\n    global tt_f\n    tt_f = et()\nmake()", ["tt_f"]),
    "with": ("import contextlib\nwith contextlib.nullcontext(et()) as tt_w: pass", ["tt_w"]),
    "walrus": ("(tt_w := et()).size", ["tt_w"]),
    "last binding decides": ("tt_a = et()\ntt_b = et()\ntt_a = et()", ["tt_b", "tt_a"]),
    "one table, two names": ("tt_a = tt_b = et()", ["tt_a"]),
    "private": ("_tt = et()", []),
    "deleted": ("tt_d = et()\ndel tt_d", []),
    "local": ("def make():\n    tt_l = et()\n    return 1\nmake()", []),
    "hushed": ("tt_h = et();", []),
    "hushed as trailing expression": ("tt_h = et()\ntt_h; # no", []),
    "not hushed in the middle": ("tt_h = et(); tt_i = et()", ["tt_h", "tt_i"]),
    "starred": ("tt_a, *_tt = et(), et(), et()", ["tt_a"]),
    "chained": ("d = {}\ntt_c = d['x'] = et()", ["tt_c"]),
    "several globals at once": ("globals().update(tt_y=et(), tt_x=et())", ["tt_y", "tt_x"]),
    "exec in a loop": ("for _i in range(2): exec(f'tt_{_i} = et()')", ["tt_0", "tt_1"]),
    "walrus in a comprehension": ("_n = [(tt_w := et()).size for _ in range(2)]", ["tt_w"]),
    "try and finally": ("try:\n    tt_t = et()\nfinally:\n    tt_u = et()", ["tt_t", "tt_u"]),
    "nested functions": (
        "def outer():\n    def inner():\n        global tt_n\n        tt_n = et()\n    inner()\nouter()",
        ["tt_n"],
    ),
    "two with": (
        "import contextlib as _c\nwith _c.nullcontext(et()) as tt_a, _c.nullcontext(et()) as tt_b: pass",
        ["tt_a", "tt_b"],
    ),
    "eval": ("eval('globals().__setitem__(\"tt_v\", et())')", ["tt_v"]),
    "source and globals mixed": ("globals()['tt_z'] = et()\ntt_a = et()", ["tt_a", "tt_z"]),
    "not assigned after all": ("if False: et_never = et()", []),
}


@pytest.mark.parametrize(("code", "names"), ASSIGNMENTS.values(), ids=list(ASSIGNMENTS))
def test_assigned_tables_show(client: Client, code: str, names: list[str]) -> None:
    assert client.ok(code).table_names == names


def test_a_table_that_was_there_before_is_not_shown_again(client: Client) -> None:
    client.ok("tt_old = et()")
    assert client.ok("x = 1").tables == []
    assert client.ok("tt_old.size").tables == []
    assert client.ok("if False: tt_old = et()").tables == [], "the cell has assigned nothing"


def test_a_failing_cell_shows_no_tables(client: Client) -> None:
    run = client.run("tt_f = et()\n1/0")
    assert run.error["ename"] == "ZeroDivisionError"
    assert run.tables == []


def test_the_trailing_expression_is_the_result_after_the_assigned_ones(client: Client) -> None:
    run = client.ok("tt_a = et()\ntt_a.where('X > 0')")
    assert [(table.info.name, table.result) for table in run.tables] == [("tt_a", False), (None, True)]
    assert run.tables[1].info.rows == 2
    run = client.ok("tt_b = et()\ntt_b")
    assert [(table.info.name, table.result) for table in run.tables] == [("tt_b", True)], "a table that is both shows once"


def test_no_tables_where_the_kernel_wants_none(client: Client) -> None:
    assert client.ok("tt_a = et()", show_tables=False).tables == []


def test_rows_columns_and_types(client: Client) -> None:
    run = client.ok(
        "empty_table(1000).update(['I = i', 'L = ii', 'D = i / 2.0', 'S = `s` + i', 'B = i % 2 == 0',"
        " 'T = epochNanosToInstant(ii)'])"
    )
    (table,) = run.tables
    assert table.info.kind == "Table"
    assert table.info.rows == 1000
    assert not table.info.refreshing
    assert table.info.columns == (
        Column("I", "int"),
        Column("L", "long"),
        Column("D", "double"),
        Column("S", "java.lang.String"),
        Column("B", "java.lang.Boolean"),
        Column("T", "java.time.Instant"),
    )
    found = rows(client, table)
    assert len(found) == 10
    assert (found[3]["I"], found[3]["L"], found[3]["D"], found[3]["S"]) == (3, 3, 1.5, "s3")


def test_raw_java_tables_are_tables(client: Client) -> None:
    run = client.ok("tt_j = et(5).j_table\ntt_j")
    (table,) = run.tables
    assert (table.info.name, table.info.rows, table.result) == ("tt_j", 5, True)
    assert len(rows(client, table)) == 5
    assert client.ok("tt_k = jpy.get_type('io.deephaven.engine.util.TableTools').emptyTable(4)").table_names == ["tt_k"]


def test_a_refreshing_table_says_so(client: Client) -> None:
    run = client.ok("tt_t = time_table('PT0.1s')")
    assert run.tables[0].info.refreshing
    assert preview(client, run.tables[0]).data is not None


def test_an_uncoalesced_table_has_its_true_size(client: Client, tmp_path: Path) -> None:
    run = client.ok(
        "from deephaven import parquet\n"
        f"import os\nfor p in ('1', '2'):\n    os.makedirs({str(tmp_path)!r} + '/d/P=' + p)\n"
        f"    parquet.write(et(617), {str(tmp_path)!r} + '/d/P=' + p + '/a.parquet')\n"
        f"tt_p = parquet.read({str(tmp_path)!r} + '/d')"
    )
    (table,) = run.tables
    assert table.info.name == "tt_p"
    assert table.info.rows == 1234
    assert len(rows(client, table)) == 10
    client.ok("tt_q = tt_p.where('P == 2')\ntt_q.size")


def test_a_formula_that_fails_when_read_is_a_problem_and_not_a_dead_cell(client: Client) -> None:
    run = client.ok("empty_table(5).update_view('X = (String)null + ((Object)null).toString()')")
    (table,) = run.tables
    made = preview(client, table)
    assert made.data is None
    assert made.problem
    assert client.value("1 + 1") == "2"


def test_a_hundred_columns_and_odd_types(client: Client) -> None:
    run = client.ok("empty_table(20).update([f'C{n} = i + {n}' for n in range(100)])")
    (table,) = run.tables
    outer = [*range(10), *range(90, 100)]
    assert [column.name for column in table.info.columns] == [f"C{n}" for n in outer]
    assert table.info.width == 100
    assert list(rows(client, table)[9].values()) == [19 + n for n in outer], "no column travels that is not shown"
    run = client.ok(
        "empty_table(2).update(['P = parsePeriod(`P1D`)', 'Z = toZonedDateTime(epochNanosToInstant(0), timeZone(`UTC`))',"
        " 'BD = new java.math.BigDecimal(`12.50`)', 'A = new int[]{1, 2}', 'O = new java.util.HashMap()', 'C = `x`.charAt(0)',"
        " 'LT = parseLocalTime(`10:00:00`)', 'LD = parseLocalDate(`2020-01-02`)'])"
    )
    found = rows(client, run.tables[0])
    assert found[0]["P"] == "P1D"
    assert "1970-01-01T00:00" in str(found[0]["Z"])


def test_an_empty_table_and_one_without_columns(client: Client) -> None:
    assert rows(client, client.ok("empty_table(0).update('X = i')").tables[0]) == []
    (bare,) = client.ok("empty_table(7)").tables
    assert bare.info.rows == 7
    assert bare.info.columns == ()


def test_twenty_million_rows_are_previewed_by_their_head(client: Client) -> None:
    """No more than the head travels: this process does not grow by the table."""
    run = client.ok("empty_table(20_000_000).update('X = ii').update_view('S = `row ` + ii')", rows=10)
    (table,) = run.tables
    assert table.info.rows == 20_000_000
    before = psutil.Process().memory_info().rss
    made = preview(client, table)
    assert made.data is not None
    assert made.data.num_rows == 10
    assert made.data.nbytes < 10_000
    assert psutil.Process().memory_info().rss - before < 20 * MIB
    client.run("_ = None\ngc.collect()")


def test_previews_release_what_they_read(client: Client) -> None:
    run = client.ok("tt_a = et()")
    assert len(rows(client, run.tables[0])) == 3
    again = preview(client, run.tables[0])
    assert again.data is None or again.data.num_rows == 3


def test_tables_tick_and_the_console_is_served_while_a_cell_runs(
    kind: Kind, client: Client, fresh: str, tmp_path: Path
) -> None:
    """Cells run outside the console's lock."""
    from pydeephaven import Session

    file = f"{tmp_path}/go"
    client.ok("tt_tick = time_table('PT0.02s')")
    run = client.send(
        f"import os, time\nbefore = tt_tick.size\nprint('begun')\nwhile not os.path.exists({file!r}): time.sleep(0.01)\n"
        f"print('ticked', tt_tick.size > before)"
    )
    client.wait_for_text(run, "begun")
    endpoint = kind.endpoint
    console = Session(endpoint.host, endpoint.port, auth_type=endpoint.auth_type, auth_token=endpoint.auth_token)
    try:
        console.run_script(f"import time\n_t0 = tt_tick.size\nfrom_console_{fresh} = 1")
        assert run.done is None
        ticking = console.open_table("tt_tick")
        first = ticking.size
        until(lambda: console.open_table("tt_tick").snapshot().size > first, "a tick")
        console.run_script(f"open({file!r}, 'w').close()")
    finally:
        console.close()
    client.finish(run)
    assert "ticked True" in run.text()
    assert client.value(f"from_console_{fresh}") == "1"


COUNT = """
def sources():
    graph = jpy.get_type("io.deephaven.engine.context.ExecutionContext").getContext().getUpdateGraph()
    return jpy.cast(graph, jpy.get_type("io.deephaven.engine.updategraph.impl.PeriodicUpdateGraph")).sourceCount()
def collected():
    gc.collect()
    jpy.get_type("java.lang.System").gc()
    return sources()
"""


@pytest.mark.long
def test_replaced_tables_stop_ticking(client: Client) -> None:
    """A notebook re-runs its cells all day: what nothing refers to any more is released."""
    client.ok(COUNT)
    until(lambda: client.value("collected()") == client.value("collected()"), "a quiet start")
    before = int(client.value("collected()"))
    for _ in range(20):
        run = client.ok("tt_again = time_table('PT1s').update('Y = ii * 2')")
        for table in run.tables:
            assert preview(client, table).data is not None
    until(lambda: int(client.value("collected()")) <= before + 1, "nineteen of twenty released", 20)
    client.ok("assert tt_again.is_refreshing")
