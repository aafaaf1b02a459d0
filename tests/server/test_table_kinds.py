"""Each kind of Deephaven's tables, large ones and broken ones, as a cell shows them; on real servers of each kind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sessions import Client, Kind, until

from dh_kernel.model import TablePreview
from dh_kernel.render import RenderOptions, table_bundle

DATARESOURCE = "application/vnd.dataresource+json"
IMPORTS = """
from deephaven import agg, dtypes, empty_table, input_table, new_table, ring_table, time_table
import jpy, gc
"""


@pytest.fixture
def client(kind: Kind) -> Iterator[Client]:
    made = kind.open()
    made.ok(IMPORTS)
    yield made
    made.run("for _n in [n for n, v in globals().items() if n.startswith('tt_')]: del globals()[_n]")
    made.close()


@pytest.fixture(scope="module")
def one(launched_kind: Kind) -> Iterator[Client]:
    """A session of the launched server, for what does not differ between kinds of servers."""
    made = launched_kind.open()
    made.ok(IMPORTS)
    yield made
    made.close()


def preview_of(client: Client, code: str) -> TablePreview:
    """What the last table of a cell is shown with."""
    return client.preview(client.ok(code).tables[-1])


def text(preview: TablePreview, **options: Any) -> str:
    return str(table_bundle(preview, options=RenderOptions(**options))["text/plain"])


def values(preview: TablePreview) -> list[dict[str, Any]]:
    resource: Any = table_bundle(preview)[DATARESOURCE]
    found: list[dict[str, Any]] = resource["data"]
    return found


def caption(preview: TablePreview) -> str:
    return text(preview, width=200).splitlines()[0]


def test_head_and_tail_of_five_billion_rows(client: Client) -> None:
    made = preview_of(client, "tt_big = empty_table(5_000_000_000).view(['X = ii', 'S = `row ` + ii'])")
    assert [row["X"] for row in values(made)] == [0, 1, 2, 3, 4, *range(4_999_999_995, 5_000_000_000)]
    assert caption(made) == "tt_big — 5,000,000,000 rows × 2 columns"  # noqa: RUF001
    lines = text(made).splitlines()
    assert [line.split()[0] for line in lines[4:]] == [*"01234", "…", *(str(5 * 10**9 - n) for n in range(5, 0, -1)), "10"]
    assert lines[-1] == "10 of 5,000,000,000 rows"


def test_a_table_that_fits_shows_whole(one: Client) -> None:
    made = preview_of(one, "tt_ten = empty_table(10).update('X = i')")
    assert [row["X"] for row in values(made)] == list(range(10))
    assert "…" not in text(made)


def test_a_table_that_grows_at_its_end_shows_its_end(one: Client) -> None:
    one.ok("tt_a = time_table('PT0.01S').update('X = ii')")
    until(lambda: int(one.value("tt_a.size")) > 30, "thirty rows")
    made = preview_of(one, "tt_a")
    found = [row["X"] for row in values(made)]
    assert len(found) == 10
    assert found[0] >= 20
    assert found == list(range(found[0], found[0] + 10))
    assert " · append-only · refreshing · snapshot " in caption(made)
    assert text(made).splitlines()[4].split() == ["…", "…"], "the rows that are not shown come before"


def test_a_ticking_table_shows_head_and_tail_of_one_moment(one: Client) -> None:
    """Each row holds the same count: a head and a tail of two cycles would show two."""
    one.ok(
        "tt_clock = time_table('PT0.01S').last_by()\n"
        "tt_same = empty_table(100).update('K = ii').join(tt_clock.update('N = epochNanos(Timestamp)'))"
    )
    until(lambda: one.value("tt_same.size") == "100", "the first tick")
    seen = set()

    def has_ticked() -> bool:
        rows = values(preview_of(one, "tt_same"))
        assert len({row["N"] for row in rows}) == 1, rows
        if rows[5]["K"] != 5:  # on a machine that is busy for seconds, the head alone
            assert [row["K"] for row in rows] == [0, 1, 2, 3, 4, 95, 96, 97, 98, 99]
            seen.add(rows[0]["N"])
        return len(seen) > 2

    until(has_ticked, "three different moments")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("time_table('PT1S')", "time table · append-only · refreshing"),
        ("time_table('PT1S', blink_table=True)", "time table · blink · refreshing"),
        ("ring_table(time_table('PT1S', blink_table=True), 5)", "refreshing · ring"),
        ("input_table(col_defs={'A': dtypes.int32})", "InputTable"),
        ("input_table(col_defs={'A': dtypes.int32}, key_cols='A')", "InputTable"),
        ("time_table('PT1S').j_table", "append-only"),
        ("empty_table(1).update('X = i')", "1 row × 1 column"),  # noqa: RUF001
    ],
)
def test_the_caption_names_the_kind(one: Client, code: str, words: str) -> None:
    shown = caption(preview_of(one, f"tt_kind = {code}"))
    assert all(word in shown for word in words.split(" · ")), shown


def test_partitioned_tables_show_their_keys_and_their_first_constituents(client: Client) -> None:
    made = preview_of(
        client, "tt_p = empty_table(100).update(['K = `k` + (i % 12)', 'L = i % 12', 'V = ii']).partition_by(['K', 'L'])"
    )
    assert caption(made) == "tt_p — PartitionedTable · 12 constituents × 2 key columns"  # noqa: RUF001
    assert values(made)[0] == {"K": "k0", "L": 0}
    assert [part.info.name for part in made.parts] == ["K=k0, L=0", "K=k1, L=1", "K=k2, L=2"]
    assert [row["V"] for row in values(made.parts[1])] == [1, 13, 85, 97]
    shown = text(made)
    assert "K=k2, L=2 — 9 rows × 3 columns" in shown  # noqa: RUF001
    assert shown.splitlines()[-1] == "and 9 more constituents"


def test_a_ticking_partitioned_table_and_a_proxy(one: Client) -> None:
    one.ok("tt_src = time_table('PT0.01S').update('K = ii % 3')")
    until(lambda: int(one.value("tt_src.size")) > 5, "some rows")
    made = preview_of(one, "tt_tp = tt_src.partition_by('K')")
    assert made.problem is None
    assert made.info.refreshing
    assert len(made.parts) == 3
    assert all(part.data is not None for part in made.parts)
    assert caption(preview_of(one, "tt_tp.proxy()")).startswith("PartitionedTableProxy — 3 constituents")


def test_a_rollup_shows_as_a_tree(client: Client) -> None:
    code = (
        "tt_r = empty_table(12).update(['A = `a` + i % 2', 'B = `b` + i % 3', 'V = ii', 'T = epochNanosToInstant(ii)',"
        " 'F = i < 6']).rollup([agg.sum_('V'), agg.last(['T', 'F'])], by=['A', 'B'], include_constituents=True)"
    )
    made = preview_of(client, code)
    assert values(made) == [
        {"A": None, "B": None, "V": 66, "T": "1970-01-01T00:00:00.000000011Z", "F": False},
        {"A": "a0", "B": None, "V": 30, "T": "1970-01-01T00:00:00.000000010Z", "F": False},
        {"A": "a1", "B": None, "V": 36, "T": "1970-01-01T00:00:00.000000011Z", "F": False},
    ]
    assert caption(made) == "tt_r — RollupTable · 3 expanded rows × 5 columns"  # noqa: RUF001
    assert [line[:5].rstrip() for line in text(made).splitlines()[1:]] == ["level", "", "-----", "▾ 1", "  ▸ 2", "  ▸ 2"]
    resource: Any = table_bundle(made)[DATARESOURCE]
    assert resource["deephaven"]["levels"] == [1, 2, 2]
    assert resource["deephaven"]["expanded"] == [True, False, False]


def test_a_tree_shows_as_a_tree_and_a_ticking_one_too(one: Client) -> None:
    one.ok("tt_n = empty_table(9).update(['Id = i', 'Parent = i == 0 ? NULL_INT : (int) ((i - 1) / 2)', 'N = `n` + i'])")
    made = preview_of(one, "tt_t = tt_n.tree('Id', 'Parent')")
    assert [row["Id"] for row in values(made)] == [0, 1, 2]
    one.ok("tt_m = time_table('PT0.01S').update(['Id = ii', 'Parent = ii == 0 ? NULL_LONG : (long) ((ii - 1) / 2)'])")
    until(lambda: int(one.value("tt_m.size")) > 5, "some rows")
    made = preview_of(one, "tt_u = tt_m.tree('Id', 'Parent')")
    assert [row["Id"] for row in values(made)] == [0, 1, 2]
    assert made.info.refreshing


def test_only_the_columns_that_show_are_described_and_read(one: Client) -> None:
    made = preview_of(one, "tt_w = new_table([__import__('deephaven').column.int_col(f'C{n}', [n]) for n in range(2000)])")
    assert made.info.width == 2000
    assert made.data is not None
    assert made.data.num_columns == 20
    lines = text(made).splitlines()
    assert lines[0].endswith("1 row × 2,000 columns")  # noqa: RUF001
    assert lines[1].split()[0] == "C0"
    assert lines[1].split()[-1] == "C1999"
    assert lines[-1].endswith("of 2,000 columns")


def test_long_texts_and_arrays_stay_on_the_server(one: Client) -> None:
    """A hundred megabytes in each row: the kernel gets the first ten thousand characters, and the length."""
    made = preview_of(
        one,
        "tt_s = empty_table(3).update_view(['S = `é`.repeat(50_000_000 + i)', 'A = new double[2_000_000 + i]',"
        " 'B = new byte[3_000_000]', 'N = i == 1 ? null : `short`'])",
    )
    assert made.data is not None
    assert made.data.nbytes < 200_000
    row = values(made)[2]
    assert row["S"] == "é" * 10_000 + "… (50,000,002 characters)"
    assert row["A"] == [0.0] * 500 + ["… 1,999,502 more"]
    assert row["B"] == [0] * 500 + ["… 2,999,500 more"]
    assert [each["N"] for each in values(made)] == ["short", None, "short"]


def test_a_text_that_looks_like_a_cut_one_is_whole(one: Client) -> None:
    made = preview_of(one, "tt_l = empty_table(1).update(['A = `abc\\\\u000012`', 'B = `x`.repeat(9_996) + `\\\\u0000123`'])")
    assert values(made) == [{"A": "abc\x0012", "B": "x" * 9_996 + "\x00123"}]
    made = preview_of(one, "tt_l = empty_table(1).update('A = `\\\\uD83C\\\\uDF89`.repeat(5_000)')")
    assert values(made) == [{"A": "🎉" * 5_000}], "ten thousand units of Java's"


def test_aggregated_vectors_show_their_first_elements(one: Client) -> None:
    made = preview_of(
        one,
        "tt_v = empty_table(2000).update(['K = i % 2', 'V = ii', 'S = `s` + i', 'T = epochNanosToInstant(ii)']).group_by('K')",
    )
    row = values(made)[0]
    assert row["V"] == [*range(0, 1000, 2), "… 500 more"]
    assert row["S"][:2] == ["s0", "s2"]
    assert row["T"][1] == "1970-01-01T00:00:00.000000002Z"


@pytest.mark.parametrize("code", ["empty_table(0)", "empty_table(0).update('X = i')", "empty_table(7)"])
def test_nothing_to_show_is_said(one: Client, code: str) -> None:
    made = preview_of(one, code)
    assert made.problem is None
    assert text(made).splitlines()[-1] in ("no rows", "no columns")


def test_columns_of_nulls_only(one: Client) -> None:
    made = preview_of(
        one,
        "tt_null = empty_table(2).update(['I = NULL_INT', 'S = (String) null', 'O = (Object) null', 'A = (long[]) null',"
        " 'T = (java.time.Instant) null', 'B = (Boolean) null', 'D = (java.math.BigDecimal) null', 'C = NULL_CHAR',"
        " 'P = (java.time.Period) null', 'Y = (byte[]) null'])",
    )
    assert values(made) == [dict.fromkeys("ISOATBDCPY")] * 2


def test_a_formula_that_throws_shows_columns_and_reason(one: Client) -> None:
    made = preview_of(one, "tt_x = empty_table(5).update_view('X = (int) Integer.parseInt(`x` + i)')")
    assert made.data is None
    shown = text(made)
    assert "rows could not be read: the server could not compute them, as when a formula fails" in shown


def test_a_table_that_failed_while_ticking_says_so(one: Client) -> None:
    one.ok("tt_f = time_table('PT0.01S').update('X = 10 / (int) (5 - ii)').update('Y = Integer.parseInt(ii < 3 ? `1` : `x`)')")
    until(lambda: one.value("tt_f.j_table.isFailed()") == "True", "the failure")
    made = preview_of(one, "tt_f")
    assert made.data is None
    assert "has failed while ticking" in text(made)
    assert "Y" in text(made)


def test_hostile_names_and_values(one: Client) -> None:
    made = preview_of(
        one,
        "tt_h = new_table([__import__('deephaven').column.string_col('Ünï\\u200bcode\\u202e', "
        "['<script>alert(1)</script>', 'a\\u202eb', None, '', 'null', '\\x00', '\"\\'`'])])",
    )
    (column,) = made.info.columns
    assert values(made)[0][column.name] == "<script>alert(1)</script>"
    bundle = table_bundle(made)
    assert "<script" not in str(bundle["text/html"])
    json.dumps(bundle, allow_nan=False).encode()


def test_invalid_surrogates(one: Client) -> None:
    made = preview_of(one, "tt_u = empty_table(1).update('S = new String(new char[]{(char) 0xD800, (char) 0x41})')")
    assert made.data is not None
    assert values(made)[0]["S"].endswith("A")
    json.dumps(table_bundle(made), ensure_ascii=False).encode()


def test_previews_of_ticking_tables_leave_nothing_ticking(one: Client) -> None:
    """Head, tail, merge, keys and constituents: all gone once they have been read."""
    one.ok(
        "def tt_listeners():\n    gc.collect(); jpy.get_type('java.lang.System').gc()\n    return tt_qt.hasListeners()\n"
        "tt_base = time_table('PT0.01S').update('K = ii % 20').last_by('K')",
        show_tables=False,
    )
    until(lambda: int(one.value("tt_base.size")) == 20, "twenty keys")
    one.ok("tt_qt = jpy.cast(tt_base.j_table, jpy.get_type('io.deephaven.engine.table.impl.QueryTable'))", show_tables=False)
    for _ in range(20):
        assert preview_of(one, "tt_base").data is not None
    one.ok("%dh live stop")  # the outputs listen for as long as they are live
    until(lambda: one.value("tt_listeners()") == "False", "no listener left", 20)


def test_objects_that_the_server_has_no_type_for_are_no_cards(one: Client) -> None:
    assert "object at 0x" in one.value("object()")
    assert one.ok("class Own:\n    def __repr__(self): return 'own'\nOwn()").result == "own"
    assert one.value("jpy.get_type('java.util.ArrayList')()").startswith("java.util.ArrayList(objectRef")
