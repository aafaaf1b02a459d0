"""Columns in text: completed and inspected for live tables, for chains of operations, and for tables to come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import fake_tables
import pytest

from dh_kernel.runtime.introspection import complete, inspect_at

TRADES = {"Sym": "java.lang.String", "Price": "double", "Size": "int", "Ts": "java.time.Instant"}
QUOTES = {"Sym": "java.lang.String", "Bid": "double", "QTs": "java.time.Instant"}
ALL, RIGHT = list(TRADES), list(QUOTES)


class Holder:
    """Has a table as an attribute."""


@pytest.fixture
def names() -> Iterator[dict[str, Any]]:
    with fake_tables.installed() as dh:
        trades, quotes, holder = fake_tables.table(TRADES), fake_tables.table(QUOTES), Holder()
        holder.t = trades  # type: ignore[attr-defined]

        def my_udf(x: int) -> int:
            return x

        public = (
            "empty_table",
            "time_table",
            "new_table",
            "string_col",
            "merge",
            "to_pandas",
            "input_table",
            "MultiJoinInput",
        )
        yield {
            **{name: getattr(dh, name) for name in (*public, "agg", "updateby", "Figure")},
            "dh": dh,
            "t": trades,
            "q": quotes,
            "holder": holder,
            "tables": {"a": trades, "b c": quotes},
            "pt": fake_tables.partitioned({"P": "int", "Q": "long"}),
            "cum_sum": dh.updateby.cum_sum,
            "ema_time": dh.updateby.ema_time,
            "is_null": dh.filters.is_null,
            "or_": dh.filters.or_,
            "cols": ["Sym", "Price"],
            "threshold": 5,
            "my_udf": my_udf,
        }


def columns(names: dict[str, Any], code: str) -> list[str]:
    """The columns among the matches at the `|`, or at the end."""
    before, _, after = code.partition("|")
    reply = complete(names, before + after, len(before))
    return [each["text"] for each in reply["metadata"]["_jupyter_types_experimental"] if each["type"] == "column"]


@pytest.mark.parametrize("quote", ['"', "'", '"""', "'''", 'r"', "f'", 'rf"""'])
@pytest.mark.parametrize("method", ["where", "select", "update", "update_view", "lazy_update", "view", "sort", "group_by"])
def test_columns_in_any_kind_of_text(names: dict[str, Any], method: str, quote: str) -> None:
    assert columns(names, f"t.{method}({quote}") == ALL
    assert columns(names, f"t.{method}([{quote}Pri") == ["Price"]
    assert columns(names, f"t.{method}({quote}Pri|{quote.lstrip('rf')})") == ["Price"]


@pytest.mark.parametrize(
    "call",
    [
        "drop_columns(['Sym', '",
        "rename_columns('New = ",
        "move_columns(1, '",
        "move_columns_up('",
        "move_columns_down(cols='",
        "sort_descending('",
        "sort(order_by=['Sym', '",
        "select_distinct('",
        "sum_by('",
        "avg_by(['",
        "last_by(by='",
        "first_by('",
        "head_by(3, '",
        "head_by(num_rows=3, by='",
        "count_by('N', by='",
        "weighted_avg_by('",
        "ungroup('",
        "partition_by('",
        "agg_by(agg.sum_('",
        "agg_by([agg.sum_(['Price', 'S = ",
        "agg_by(aggs=[agg.count_('N'), agg.avg(cols=['",
        "agg_by([agg.weighted_avg('",
        "agg_by([agg.weighted_avg('Size', '",
        "agg_by([agg.avg('Price')], by='",
        "agg_by([agg.avg('Price')], ['",
        "agg_all_by(agg.sum_(), by=['",
        "update_by(cum_sum('",
        "update_by([updateby.rolling_avg_time('",
        "update_by(ops=[ema_time('Ts', 'PT1s', ['A = ",
        "update_by([cum_sum('Price')], by=['",
        "where(is_null('",
        "where([or_(['",
        "where(dh.filters.is_null('",
        "natural_join(q, '",
        "natural_join(q, on=['",
        "aj(q, on=['Sym', '",
        "where_in(q, '",
        "update(cols + ['X = ",
        "to_string(10, '",
        "rollup(aggs=[agg.avg('",
        "tree('",
        "format_columns('Price = ",
    ],
)
def test_columns_of_the_receiver(names: dict[str, Any], call: str) -> None:
    assert columns(names, f"t.{call}") == ALL
    assert columns(names, f"x = (t\n    .{call}S") == ["Sym", "Size"]


@pytest.mark.parametrize(
    "call",
    [
        "natural_join(q, on='Sym', joins=['",
        "exact_join(q, 'Sym', '",
        "join(table=q, on=['Sym'], joins='",
        "natural_join(q, 'Sym', ['B2 = ",
        "natural_join(q, on=['Sym = ",
        "aj(q, on=['Sym', 'Ts >= ",
        "raj(q, 'Sym, Ts <= ",
        "where_in(q, 'Sym = ",
        "where_not_in(filter_table=q, cols='Sym=",
        "snapshot_when(q, '",
    ],
)
def test_columns_of_the_other_table(names: dict[str, Any], call: str) -> None:
    assert columns(names, f"t.{call}") == RIGHT


def test_range_joins_talk_of_both_tables(names: dict[str, Any]) -> None:
    assert columns(names, "t.range_join(q, on=['Sym', 'Ts < ") == [*ALL, "Bid", "QTs"]
    assert columns(names, "t.range_join(q, on='Sym', aggs=[agg.sum_('") == RIGHT


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("t.where('Price > 1').update('Z = Size').view(['Z", ["Z"]),
        ("t.view('A = Sym').sort('", ["A"]),
        ("t.select().sort('", ALL),
        ("t.drop_columns(['Sym', 'Ts']).sort('", ["Price", "Size"]),
        ("t.rename_columns('Symbol = Sym').sort('", ["Symbol", "Price", "Size", "Ts"]),
        ("t.head(5).tail(2).reverse().sort('", ALL),
        ("t.agg_by([agg.avg('P = Price'), agg.count_('N')], by=['Sym']).sort('", ["Sym", "P", "N"]),
        ("t.count_by('N', 'Sym').sort('", ["Sym", "N"]),
        ("t.sum_by('Sym').sort('", ALL),
        ("t.update_by(cum_sum('C = Price'), 'Sym').sort('", [*ALL, "C"]),
        ("t.natural_join(q, 'Sym', 'B = Bid').sort('", [*ALL, "B"]),
        ("t.natural_join(q, 'Sym').sort('", [*ALL, "Bid", "QTs"]),
        ("t.natural_join(q.view(['Sym', 'B2 = Bid']), 'Sym', '", ["Sym", "B2"]),
        ("t.natural_join(q.where('", RIGHT),
        ("t.where_in(q, 'Sym').sort('", ALL),
        ("t.update(f'Z{3} = 1').sort('Z", ["Z_"]),
        ("t.update(['A = i', 'B = A|", ["A"]),
        ("t.update(formulas=['A = Price * 2', 'B = A', 'C = ", [*ALL, "A", "B"]),
        ("holder.t.where('", ALL),
        ("tables['a'].where('", ALL),
        ("tables['b c'].where('", RIGHT),
        ("[t, q][1].where('", RIGHT),
        ("(t if threshold else q).where('", ALL),
        ("pt.proxy().update('Z = ", ["P", "Q"]),
        ("pt.merge().sort('", ["P", "Q"]),
        ("t.partition_by('Sym').proxy().where('", ALL),
        ("empty_table(5).update(['X = i', 'Y = X']).where('", ["X", "Y"]),
        ("time_table('PT1s').where('", ["Timestamp"]),
        ("new_table([string_col('Name', ['a'])]).where('", ["Name"]),
        ("new_table({'Name': [1]}).where('", ["Name"]),
        ("merge([q, q]).where('", RIGHT),
        ("dh.merge([q.where('Bid > 1'), q]).where('", RIGHT),
        ("input_table(col_defs={'K': int}).where('", ["K"]),
        ("to_pandas(t, cols=['", ALL),
        ("MultiJoinInput(q, '", RIGHT),
        ("Figure().plot_xy('series', t=t, x='", ALL),
        ("u = t.view('X1 = Price')\nu.where('", ["X1"]),
        ("u = empty_table(5)\nu = u.update('A = i')\nu = u.update('B = i')\nu.where('", ["A", "B"]),
        ("u, v = t, q\nv.where('", RIGHT),
        ("from deephaven import empty_table as et\net(1).update('N = i').sort('", ["N"]),
        ("import deephaven as d\nd.empty_table(1).update('N = i').sort('", ["N"]),
        ("made = ['N = i']\nempty_table(1).update(made).sort('", ["N"]),
        ("def f():\n    local = t.view('L = Sym')\n    return local.where('", ["L"]),
        ("for each in [q]:\n    each.where('", RIGHT),
        ("for each in tables.values():\n    each.where('", ALL),
        ("with x as y:\n    t.where('", ALL),
        ("print(t.where('Price > 1').sort('", ALL),
        ("%time t.where('", ALL),
        ("%%timeit\nt.where('", ALL),
        ("f(\nt.where('Sym = `a`')\nt.where('", ALL),
        ("t = q\nt.where('", RIGHT),
    ],
)
def test_columns_of_tables_to_come(names: dict[str, Any], code: str, expected: list[str]) -> None:
    assert columns(names, code) == expected


def test_a_table_of_an_unknown_call_is_what_has_run_under_its_name(names: dict[str, Any]) -> None:
    """The cell has run before: what it will make is likely what it made."""
    assert columns(names, "t = load_somehow('x')\nt.where('") == ALL
    assert columns(names, "from deephaven.table import read_csv\nt = read_csv('x')\nt.where('") == ALL


@pytest.mark.parametrize(
    "code",
    [
        "t.where('Sym = `AA",  # inside a text of the formula
        "t.update('X = Price.",  # a method of the value
        "t.update('X = 1",  # a number
        "t.await_update('",
        "unknown.where('Pri",
        "agg.sum_('Pri",
        "t.where(open('Pri",
        "'t.where(\"Pri",
        "# t.where('Pri",
        "t.update(f'X = {Pri",
    ],
)
def test_where_no_column_can_stand(names: dict[str, Any], code: str) -> None:
    assert columns(names, code) == []


def test_formulas_know_variables_functions_and_special_names(names: dict[str, Any]) -> None:
    def texts(code: str) -> list[str]:
        matches: list[str] = complete(names, code, len(code))["matches"]
        return matches

    found = texts("t.update('Z = ")
    assert found[:7] == [*ALL, "i", "ii", "k"]
    assert {"threshold", "my_udf", "sqrt", "isNull"} <= set(found)
    assert not {"t", "dh", "empty_table", "Figure", "print", "while"} & set(found)
    assert texts("t.where('Price > thr") == ["threshold"]
    assert texts("limit_here = 3\nt.where('Price > limit") == ["limit_here"]
    assert texts("t.sort('thr") == []
    assert "threshold" not in texts("t.update('")


def test_positions_and_types_of_columns(names: dict[str, Any]) -> None:
    code = "'\U0001f600'; t.update('Größe = Pri + 1')"
    cursor = code.index("Pri") + 3
    reply = complete(names, code, cursor)
    assert (reply["matches"], reply["cursor_start"], reply["cursor_end"]) == (["Price"], cursor - 3, cursor)
    assert reply["metadata"]["_jupyter_types_experimental"] == [
        {"start": cursor - 3, "end": cursor, "text": "Price", "type": "column", "signature": "double"}
    ]
    types = complete(names, "t.update(['A = i', 'B = A * 2L', 'C = Price', 'D = `x`', 'E = f(A)', 'F = ", 80)
    code = "t.update(['A = i', 'B = A * 2L', 'C = Price', 'D = `x`', 'E = f(A)', 'F = "
    types = complete(names, code, len(code))["metadata"]["_jupyter_types_experimental"]
    told = {each["text"]: each["signature"] for each in types if each["type"] == "column"}
    made = {"A": "int", "B": "long", "C": "double", "D": "String", "E": ""}
    assert told == {"Sym": "String", "Price": "double", "Size": "int", "Ts": "Instant", **made}


def test_methods_of_tables_to_come_are_completed(names: dict[str, Any]) -> None:
    for code in (
        "t.where('Price > 1').",
        "u = empty_table(5)\nu.",
        "empty_table(5).update('X = i').",
        "pt.proxy().where('P').",
    ):
        found = complete(names, code, len(code))
        assert found["matches"] or "proxy" in code, code
        if "proxy" not in code:
            assert {"where", "update", "head"} <= set(found["matches"]), code


# --- inspection


def inspected(names: dict[str, Any], code: str) -> str:
    """The plain text at the `|`."""
    before, _, after = code.partition("|")
    reply = inspect_at(names, before + after, len(before), 0)
    return str(reply["data"].get("text/plain", ""))


@pytest.mark.parametrize(
    ("code", "column", "kind", "table"),
    [
        ("t.where('Pri|ce > 3')", "Price", "double", "t"),
        ("t.where('|Price > 3')", "Price", "double", "t"),
        ("t.where('Price|", "Price", "double", "t"),
        ("t.update(['A = Price', 'B = A|'])", "A", "double", "t"),
        ("t.natural_join(q, 'Sym', 'Bi|d')", "Bid", "double", "q"),
        ("t.natural_join(q, 'Sym = Sy|m')", "Sym", "java.lang.String", "q"),
        ("t.agg_by(agg.sum_('S = Si|ze'), 'Sym')", "Size", "int", "t"),
        ("tables['a'].where('Sy|m')", "Sym", "java.lang.String", "tables['a']"),
        ("t.where('Size > 1').view('T|s')", "Ts", "java.time.Instant", "t"),
    ],
)
def test_a_column_is_inspected(names: dict[str, Any], code: str, column: str, kind: str, table: str) -> None:
    assert inspected(names, code).splitlines() == [f"Column:     {column}", f"Type:       {kind}", f"Table:      {table}"]


def test_what_is_no_column_is_the_call(names: dict[str, Any]) -> None:
    for code in ("t.where('Price > |3')", "t.where('Nothing|')", "t.where(|)", "t.where('Sym = `Pri|ce`')"):
        assert inspected(names, code).startswith("Signature: t.where(filters=None)"), code


def test_a_table_shows_its_schema_size_and_attributes(names: dict[str, Any]) -> None:
    attributes = {"BlinkTable": True, "SortedColumns": "Ts=Ascending", "Other": fake_tables.Java(getClass=None)}
    del attributes["Other"]
    names["live"] = fake_tables.table(TRADES, size=1234567, refreshing=True, attributes=attributes)
    assert inspected(names, "live|").splitlines() == [
        "Name:       live",
        "Type:       Table",
        "Size:       1,234,567 rows, 4 columns",
        "Refreshing: yes",
        "Kind:       blink",
        "Sorted by:  Ts=Ascending",
        "Attributes: BlinkTable=True, SortedColumns=Ts=Ascending",
        "Columns:",
        "  Sym    String",
        "  Price  double",
        "  Size   int",
        "  Ts     Instant",
    ]
    html = inspect_at(names, "live", 4, 0)["data"]["text/html"]
    assert "1,234,567 rows" in html
    assert 'title="java.time.Instant">Instant</td>' in html
    assert "<style" not in html
    assert "<script" not in html


def test_names_from_the_user_are_escaped(names: dict[str, Any]) -> None:
    names["odd"] = fake_tables.table({"<b>&": "int"}, attributes={"<i>": "</div>"})
    html = inspect_at(names, "odd", 3, 0)["data"]["text/html"]
    assert "&lt;b&gt;&amp;" in html
    assert "<i>" not in html


def test_a_table_that_does_not_answer_is_still_told(names: dict[str, Any]) -> None:
    """Closed, or its engine's fields are others: the columns were read before."""
    names["closed"] = table = fake_tables.table(TRADES)
    assert columns(names, "closed.where('Pri") == ["Price"]
    del table.j_table.size
    assert "Price  double" in inspected(names, "closed|")
    del table.j_table
    names["broken"] = type(table)(fake_tables.Java())
    assert columns(names, "broken.where('") == []
    assert complete(names, "broken.he", 9)["matches"] == ["head"]
