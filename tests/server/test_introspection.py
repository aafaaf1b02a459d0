"""Completion and inspection on real servers of each kind: on live tables, on tables to come, and while a cell runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sessions import Client

from dh_kernel.model import TableInfo

COLUMNS = ["Sym", "Price", "Size", "Ts"]
MAKE = """
from deephaven import agg, empty_table, time_table, new_table, merge, updateby
from deephaven.column import string_col
from deephaven.filters import is_null
trades_{x} = empty_table(20).update([
    "Sym = i % 2 == 0 ? `A` : `B`", "Price = i * 1.5", "Size = (int)(i * 10)", "Ts = now() + i * SECOND"])
quotes_{x} = empty_table(1).update(["Sym = `A`", "Bid = 1.0", "QTs = now()"])
"""
BUSY = {
    "python": "while not over_{x}.is_set(): pass",
    "sleep": "over_{x}.wait()",
    "engine": "while not over_{x}.is_set(): empty_table(300_000).update('A = i').sort_descending('A')",
}
Ask = Callable[..., Any]


@pytest.fixture
def tables(client: Client, fresh: str) -> Ask:
    """Columns that are completed at the `|` or the end of code in which `T` and `Q` are tables of the server."""
    client.ok(MAKE.format(x=fresh), show_tables=False)

    def columns(code: str) -> list[str]:
        code = with_names(code, fresh)
        before, _, after = code.partition("|")
        reply = client.ask("complete", code=before + after, cursor=len(before))
        return [each["text"] for each in reply["metadata"]["_jupyter_types_experimental"] if each["type"] == "column"]

    return columns


def with_names(code: str, fresh: str) -> str:
    """Code with the names that the tables `T` and `Q` have on the server."""
    return re.sub(r"\bQ\b", f"quotes_{fresh}", re.sub(r"\bT\b", f"trades_{fresh}", code))


def matches(client: Client, code: str) -> list[str]:
    """What is completed at the end of the code."""
    found: list[str] = client.ask("complete", code=code, cursor=len(code))["matches"]
    return found


def text_of(client: Client, code: str, detail: int = 0) -> str:
    """What is told at the `|`."""
    before, _, after = code.partition("|")
    reply = client.ask("inspect", code=before + after, cursor=len(before), detail=detail)
    return str(reply["data"].get("text/plain", ""))


def test_columns_of_live_tables(tables: Ask) -> None:
    for code in (
        "T.where('",
        "T.update('Z = ",
        "T.update(f'Z = {1} + ",
        "T.agg_by([agg.sum_(['Price', 'S = ",
        "T.update_by([updateby.cum_sum('",
        "T.where(is_null('",
        "T.natural_join(Q, on='",
        "x = (T.where('Price > 1')\n    .sort(['",
    ):
        assert tables(code) == COLUMNS, code
    assert tables("T.natural_join(Q, on='Sym', joins='") == ["Sym", "Bid", "QTs"]
    assert tables("T.aj(Q, on=['Sym', 'Ts >= ") == ["Sym", "Bid", "QTs"]
    assert tables("T.update('Z = Pr|ice + 1')") == ["Price"]


def test_columns_are_those_that_the_engine_makes(client: Client, tables: Ask, fresh: str) -> None:
    """What is told of a chain before it runs is compared with what it makes when it does."""
    chains = [
        "T.where('Price > 3').update(['A = i', 'B = A * 2L', 'C = Price / 2', 'D = `x`'])",
        "T.view(['Sym', 'Double = Price * 2'])",
        "T.select()",
        "T.drop_columns(['Ts', 'Size'])",
        "T.rename_columns('Symbol = Sym')",
        "T.agg_by([agg.avg('P = Price'), agg.count_('N'), agg.first(['Size'])], by=['Sym'])",
        "T.count_by('N', by='Sym')",
        "T.drop_columns(['Ts']).sum_by('Sym')",
        "T.drop_columns(['Ts']).avg_by(['Sym'])",
        "T.last_by('Sym').head(2).reverse()",
        "T.group_by('Sym').ungroup()",
        "T.natural_join(Q, on='Sym', joins=['B = Bid'])",
        "T.join(Q.drop_columns('QTs'), on='Sym')",
        "T.update_by([updateby.cum_sum('C = Price'), updateby.ema_tick(3, 'E = Size')], by='Sym')",
        "T.select_distinct(['Sym'])",
        "T.where_in(Q, 'Sym').tail(3)",
        "T.view(['Sym', 'Price', 'Size']).weighted_avg_by('Size', 'Sym')",
        "empty_table(3).update(['X = i', 'Y = ii'])",
        "time_table('PT1s').update('X = ii')",
        "new_table([string_col('Name', ['a'])])",
        "merge([T.head(1), T.tail(1)])",
    ]
    for chain in chains:
        code = with_names(chain, fresh)
        real = client.ok(code).tables[0].info
        assert _told(client, f"made = {code}\nmade.where('") == _real(real), chain


def _told(client: Client, code: str) -> dict[str, str]:
    reply = client.ask("complete", code=code, cursor=len(code))
    entries = reply["metadata"]["_jupyter_types_experimental"]
    return {each["text"]: each["signature"] for each in entries if each["type"] == "column"}


class _Real(dict[str, str]):
    """The columns as they are. A type that was not known before is no mistake, a wrong one is."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        return list(self) == list(other) and all(other[name] in ("", self[name]) for name in self)

    __hash__ = None  # type: ignore[assignment]


def _real(info: TableInfo) -> _Real:
    return _Real({column.name: column.type.rpartition(".")[2] for column in info.columns})


def test_a_table_is_inspected(client: Client, tables: Ask, fresh: str) -> None:
    assert tables("T.where('Pri") == ["Price"]
    text = text_of(client, f"trades_{fresh}|")
    assert f"Name:       trades_{fresh}" in text
    assert "Size:       20 rows, 4 columns" in text
    assert "Refreshing: no" in text
    assert "  Ts     Instant" in text
    client.ok(f"ticking_{fresh} = time_table('PT1s', blink_table=True)", show_tables=False)
    text = text_of(client, f"ticking_{fresh}|")
    assert "Refreshing: yes" in text
    assert "Kind:       blink" in text
    client.ok(f"sorted_{fresh} = trades_{fresh}.sort('Price')", show_tables=False)
    assert "Sorted by:  Price=Ascending" in text_of(client, f"sorted_{fresh}|")
    reply = client.ask("inspect", code=f"trades_{fresh}", cursor=3, detail=0)
    assert "<td" in reply["data"]["text/html"]


def test_other_kinds_of_tables(client: Client, tables: Ask, fresh: str) -> None:
    client.ok(
        f"parts_{fresh} = trades_{fresh}.partition_by('Sym')\nproxy_{fresh} = parts_{fresh}.proxy()\n"
        f"rollup_{fresh} = trades_{fresh}.rollup(aggs=[agg.avg('Price')], by=['Sym'])\n"
        f"tree_{fresh} = empty_table(3).update(['Id = i', 'Parent = i == 0 ? null : 0']).tree('Id', 'Parent')",
        show_tables=False,
    )
    assert tables(f"proxy_{fresh}.where('") == COLUMNS
    assert tables(f"parts_{fresh}.merge().where('") == COLUMNS
    for name, column in (("parts", "Price"), ("proxy", "Price"), ("rollup", "Price"), ("tree", "Parent")):
        assert f"  {column} " in text_of(client, f"{name}_{fresh}|"), name


def test_a_column_is_inspected(client: Client, tables: Ask, fresh: str) -> None:
    assert tables("T.where('Pri") == ["Price"]
    assert text_of(client, f"trades_{fresh}.where('Pri|ce > 3')").splitlines() == [
        "Column:     Price",
        "Type:       double",
        f"Table:      trades_{fresh}",
    ]


def test_deephavens_own_functions(client: Client, tables: Ask, fresh: str) -> None:
    assert tables("T.where('Pri") == ["Price"]
    assert "size=" in matches(client, "empty_table(")
    assert {"where", "update", "natural_join"} <= set(matches(client, f"trades_{fresh}."))
    assert {"where", "update"} <= set(matches(client, "empty_table(5)."))
    assert {"empty_table", "merge"} <= set(
        matches(client, "from deephaven import em") + matches(client, "from deephaven import me")
    )
    assert matches(client, "import deephaven.par") == ["parquet"]
    assert "join_type" not in matches(client, f"trades_{fresh}.natural_join(")
    assert {"on=", "joins=", "table="} <= set(matches(client, f"trades_{fresh}.natural_join("))
    text = text_of(client, "empty_table(|")
    assert "Signature: empty_table(size: int) -> deephaven.table.Table" in text
    assert "Creates a table" in text
    assert "def empty_table" in text_of(client, "empty_table|", 1)


def test_what_only_jedi_knows(client: Client) -> None:
    """Deephaven itself needs jedi, so every server has it."""
    code = "class A:\n    def __init__(self):\n        self.here = 1\nA().he"
    assert matches(client, code) == ["here"]


def test_javas_objects_are_not_in_the_way(client: Client, tables: Ask, fresh: str) -> None:
    assert tables("T.where('Pri") == ["Price"]
    assert "getDefinition" in matches(client, f"trades_{fresh}.j_table.getDef")
    assert client.ask("inspect", code=f"trades_{fresh}.j_table", cursor=9, detail=1)["status"] == "ok"
    for code in (f"trades_{fresh}.j_table.getDefinition().", f"trades_{fresh}.j_object.x.", "import jpy\njpy."):
        assert client.ask("complete", code=code, cursor=len(code))["status"] == "ok"


def test_nothing_of_the_users_runs(client: Client, fresh: str) -> None:
    client.ok(
        f"ran_{fresh} = []\n"
        f"class Loud_{fresh}:\n"
        f"    def __getattr__(self, name): ran_{fresh}.append(name); raise AttributeError(name)\n"
        f"    def __dir__(self): ran_{fresh}.append('dir'); return []\n"
        f"    def __repr__(self): ran_{fresh}.append('repr'); return 'x'\n"
        f"    @property\n"
        f"    def value(self): ran_{fresh}.append('value'); print('loud'); return 1\n"
        f"loud_{fresh} = Loud_{fresh}()"
    )
    client.ok(f"ran_{fresh}.clear()")
    for code in ("loud_{x}.", "loud_{x}.value.", "loud_{x}().", "loud_{x}['", "for y in loud_{x}: y.", "loud_{x}.where('"):
        code = code.replace("{x}", fresh)
        assert client.ask("complete", code=code, cursor=len(code))["status"] == "ok"
        assert client.ask("inspect", code=code, cursor=len(code) - 1, detail=1)["status"] == "ok"
        assert client.ask("inspect", code=code, cursor=6, detail=1)["status"] == "ok"
    assert "value" in matches(client, f"loud_{fresh}.")
    assert client.value(f"ran_{fresh}") == "[]"


@pytest.mark.parametrize("work", BUSY)
def test_questions_are_answered_while_a_cell_runs(client: Client, tables: Ask, fresh: str, work: str) -> None:
    client.ok(f"import threading\nover_{fresh} = threading.Event()")
    run = client.send(f"print('begun')\n{BUSY[work]}".replace("{x}", fresh), show_tables=False)
    client.wait_for_text(run, "begun")
    try:
        assert tables("T.update('Z = Pri") == ["Price"]
        assert f"over_{fresh}" in matches(client, f"over_{fresh[:4]}")
        assert "20 rows" in text_of(client, f"trades_{fresh}|")
        assert run.done is None
    finally:
        client.interrupt(run)
        client.finish(run)


def test_magics_where_there_is_ipython(client: Client) -> None:
    if client.value("'IPython' in __import__('sys').modules") == "True":
        assert {"%time", "%timeit", "%%timeit"} <= set(matches(client, "%ti"))
    else:
        assert "%pip" in matches(client, "%pi")
