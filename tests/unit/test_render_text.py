"""The text form, as a terminal shows it."""

from __future__ import annotations

import pyarrow as pa

from dh_kernel.model import Column, TableInfo, TablePreview
from dh_kernel.render import RenderOptions, table_bundle


def text(preview: TablePreview, **options: object) -> str:
    shown = table_bundle(preview, options=RenderOptions(**options))["text/plain"]  # type: ignore[arg-type]
    assert isinstance(shown, str)
    return shown


def preview(
    columns: list[tuple[str, str, pa.Array]], *, rows: int | None, name: str | None = "t", **about: object
) -> TablePreview:
    data = pa.Table.from_arrays([column[2] for column in columns], names=[column[0] for column in columns])
    info = TableInfo(
        name,
        str(about.get("kind", "Table")),
        rows,
        bool(about.get("refreshing", False)),
        tuple(Column(column, type_name) for column, type_name, _ in columns),
    )
    return TablePreview(info, data)


def doubles(count: int) -> list[tuple[str, str, pa.Array]]:
    return [(f"C{index}", "double", pa.array([float(index)])) for index in range(count)]


def test_a_table_with_its_types_nulls_and_size() -> None:
    table = preview(
        [
            ("X", "long", pa.array([0, None, 12345])),
            ("Name", "java.lang.String", pa.array(["a", None, ""])),
            ("When", "java.time.Instant", pa.array([0, 1, None], pa.timestamp("s", "UTC"))),
        ],
        rows=20_000_000,
        refreshing=True,
    )
    assert text(table) == (
        "t — 20,000,000 rows × 3 columns · refreshing\n"  # noqa: RUF001
        "    X  Name    When\n"
        " long  String  Instant\n"
        "-----  ------  --------------------\n"
        "    0  a       1970-01-01T00:00:00Z\n"
        " null  null    1970-01-01T00:00:01Z\n"
        '12345  ""      null\n'
        "    …  …       …\n"
        "3 of 20,000,000 rows"
    )


def test_a_whole_table_has_no_last_line() -> None:
    assert text(preview([("X", "int", pa.array([1]))], rows=1, name=None)) == (
        "Table — 1 row × 1 column\n  X\nint\n---\n  1"  # noqa: RUF001
    )


def test_more_rows_than_asked_for_are_not_shown() -> None:
    table = preview([("X", "int", pa.array([1, 2, 3]))], rows=3, kind="RollupTable")
    assert text(table, rows=2).splitlines() == [
        "t — RollupTable · 3 rows × 1 column",  # noqa: RUF001
        "  X",
        "int",
        "---",
        "  1",
        "  2",
        "  …",
        "2 of 3 rows",
    ]


def test_unknown_size() -> None:
    shown = text(preview([("X", "int", pa.array([1]))], rows=None)).splitlines()
    assert shown[0] == "t — unknown number of rows × 1 column"  # noqa: RUF001
    assert shown[-1] == "1 of an unknown number of rows"
    assert text(preview([("X", "int", pa.array([1]))], rows=-(2**63))).splitlines() == shown


def test_no_rows_no_columns_no_data() -> None:
    assert text(preview([("X", "int", pa.array([], pa.int32()))], rows=0)) == (
        "t — 0 rows × 1 column\n  X\nint\n---\nno rows"  # noqa: RUF001
    )
    assert text(preview([], rows=5)) == "t — 5 rows × 0 columns\nno columns"  # noqa: RUF001
    unread = TablePreview(TableInfo("t", "Table", 5, False, (Column("X", "int"),)), None, "it broke\n\tbadly\u202e")
    assert text(unread) == (
        "t — 5 rows × 1 column\n  X\nint\n---\nrows could not be read: it broke\n\\tbadly\\u202e"  # noqa: RUF001
    )


def test_the_middle_of_a_wide_table_is_cut_out() -> None:
    assert text(preview(doubles(100), rows=1), columns=4) == (
        "t — 1 row × 100 columns\n"  # noqa: RUF001
        "    C0      C1  …     C98     C99\n"
        "double  double  …  double  double\n"
        "------  ------  -  ------  ------\n"
        "   0.0     1.0  …    98.0    99.0\n"
        "4 of 100 columns"
    )


def test_columns_are_hidden_until_the_rest_fits_the_width() -> None:
    table = preview(doubles(100), rows=5)
    assert text(table, columns=4, width=32).splitlines()[1] == "    C0      C1  …     C99"
    assert text(table, width=32).splitlines()[1:] == [
        "    C0      C1  …     C99",
        "double  double  …  double",
        "------  ------  -  ------",
        "   0.0     1.0  …    99.0",
        "     …       …  …       …",
        "1 of 5 rows, 3 of 100 columns",
    ]
    assert text(preview(doubles(3), rows=1), width=22).splitlines()[1] == "    C0      C1      C2"
    assert text(preview(doubles(3), rows=1), width=21).splitlines()[1] == "    C0  …      C2"


def test_words_are_cut_before_columns_are_hidden() -> None:
    strings = [(name, "java.lang.String", pa.array([name * 60])) for name in "ab"]
    assert text(preview(strings, rows=1)).splitlines()[-1] == f"{'a' * 29}…  {'b' * 29}…"
    assert text(preview(strings, rows=1), width=122).splitlines()[-1] == f"{'a' * 60}  {'b' * 60}"
    numbers = [(name, "long", pa.array([10**18])) for name in "ab"]
    assert text(preview(numbers, rows=1), width=30).splitlines()[-2] == "1000000000000000000  …"


def test_wide_characters_keep_columns_aligned() -> None:
    table = preview([("名", "java.lang.String", pa.array(["東京", "a"])), ("N", "int", pa.array([1, 2]))], rows=2)
    assert text(table).splitlines()[1:] == ["名        N", "String  int", "------  ---", "東京      1", "a         2"]


def test_names_that_look_alike_are_told_apart() -> None:
    table = preview([("A", "int", pa.array([1])), ("A\u200b", "int", pa.array([2]))], rows=1, name="a\u202eb")
    assert text(table).splitlines()[:2] == ["a\\u202eb — 1 row × 2 columns", "  A  A\\u200b"]  # noqa: RUF001


def test_odd_options_count_as_the_least() -> None:
    table = preview(doubles(3), rows=1)
    assert text(table, rows=-1, columns=0, width=-5, cell_characters=0).splitlines()[-1] == "0 of 1 row, 1 of 3 …"
