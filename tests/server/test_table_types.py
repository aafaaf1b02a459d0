"""Every type of Deephaven's, with any value, in all three forms: compared with what the server itself says of each value.

The JSON of each cell goes back to the server, which parses it by Java's own means and compares it with what the table holds;
the HTML's text does too, where it is the exact value; the text form has the HTML's cells in their order.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sessions import Client, Kind

from dh_kernel.model import TablePreview
from dh_kernel.render import RenderOptions, table_bundle
from dh_kernel.render.characters import pieces

ROWS = 10
DATARESOURCE = "application/vnd.dataresource+json"
OPTIONS = RenderOptions(rows=50, columns=100, cell_characters=100_000, width=10_000_000, time_zone="Asia/Kolkata")

# What the server does with the values: rows of Python values as JSON to a table, and rows of texts back to "" or what differs.
ON_SERVER = """
import base64, json, struct, jpy
from deephaven import new_table, dtypes
from deephaven.column import bool_col, byte_col, char_col, double_col, float_col, int_col, long_col, short_col, string_col
from deephaven.column import InputColumn
from deephaven.constants import NULL_BYTE, NULL_CHAR, NULL_DOUBLE, NULL_FLOAT, NULL_INT, NULL_LONG, NULL_SHORT

def java(name): return jpy.get_type(name)
def number(text): return None if text is None else float.fromhex(text)
def nulls(values, null): return [null if value is None else value for value in values]

def tt_make(columns):
    table = new_table([
        byte_col("Byte", nulls(columns["Byte"], NULL_BYTE)),
        short_col("Short", nulls(columns["Short"], NULL_SHORT)),
        int_col("Int", nulls(columns["Int"], NULL_INT)),
        long_col("Long", nulls(columns["Long"], NULL_LONG)),
        char_col("Char", nulls(columns["Char"], NULL_CHAR)),
        float_col("Float", nulls(map(number, columns["Float"]), NULL_FLOAT)),
        double_col("Double", nulls(map(number, columns["Double"]), NULL_DOUBLE)),
        bool_col("Boolean", columns["Boolean"]),
        string_col("String", [text and base64.b64encode(text.encode()).decode() for text in columns["String"]]),
        string_col("Decimal", columns["Decimal"]), string_col("Big", columns["Big"]),
        long_col("Nanos", nulls(columns["Nanos"], NULL_LONG)), long_col("Days", nulls(columns["Days"], NULL_LONG)),
        long_col("OfDay", nulls(columns["OfDay"], NULL_LONG)), int_col("Months", nulls(columns["Months"], NULL_INT)),
    ])
    return table.update([
        # jpy (42.7) cuts characters beyond 16 bits when it hands a text to Java: they travel in base64
        "String = String == null ? null : new String(java.util.Base64.getDecoder().decode(String), `UTF-8`)",
        "Decimal = Decimal == null ? null : new java.math.BigDecimal(Decimal)",
        "Big = Big == null ? null : new java.math.BigInteger(Big)",
        "Instant = epochNanosToInstant(Nanos)",
        "Zoned = isNull(Nanos) ? null : toZonedDateTime(Instant, timeZone(`America/New_York`))",
        "Duration = isNull(Nanos) ? null : java.time.Duration.ofNanos(Nanos)",
        "Date = isNull(Days) ? null : java.time.LocalDate.ofEpochDay(Days)",
        "Time = isNull(OfDay) ? null : java.time.LocalTime.ofNanoOfDay(OfDay)",
        "Period = isNull(Months) ? null : java.time.Period.of(Months % 100, Months % 12, Months)",
        "Enum = isNull(Months) ? null : java.time.DayOfWeek.of(1 + (int) (abs(Months) % 7))",
        "Longs = isNull(Long) ? null : new long[]{Long, NULL_LONG, 7}", "Doubles = new double[]{Double, NULL_DOUBLE}",
        "Bytes = new byte[]{Byte, 5}", "Strings = isNull(String) ? null : new String[]{String, null, ``}",
        "Instants = new java.time.Instant[]{Instant, null}", "Ints = new int[0]",
        "Nested = new long[][]{new long[]{Long}, null, new long[0]}",
        "Floats = new float[]{Float}", "Chars = new char[]{Char}",
        "Decimals = new java.math.BigDecimal[]{Decimal, null}", "Bigs = new java.math.BigInteger[]{Big, null}",
        "Zoneds = new java.time.ZonedDateTime[]{Zoned, null}", "Periods = new java.time.Period[]{Period, null}",
        "Dates = new java.time.LocalDate[]{Date, null}", "Times = new java.time.LocalTime[]{Time, null}",
        "Durations = new java.time.Duration[]{Duration, null}", "Enums = new java.time.DayOfWeek[]{Enum, null}",
        "Booleans = new Boolean[]{Boolean, null}", "Shorts = new short[]{Short, NULL_SHORT}",
    ])

PARSE = {
    "Instant": lambda text: java("java.time.OffsetDateTime").parse(text).toInstant(),
    "Duration": lambda text: java("java.time.Duration").parse(text),
    "Date": lambda text: java("java.time.LocalDate").parse(text),
    "Time": lambda text: java("java.time.LocalTime").parse(text),
    "Zoned": lambda text: java("java.time.ZonedDateTime").parse(text),
    "Period": lambda text: java("java.time.Period").parse(text),
    "Enum": lambda text: java("java.time.DayOfWeek").valueOf(text),
}

def tt_differ(table, rows, numbers=True):
    found = []
    for name in PARSE:
        source = table.j_table.getColumnSource(name)
        for position, row in enumerate(rows):
            value, text = source.get(position), row[name]
            if (value is None) != (text is None) or (value is not None and not value.equals(PARSE[name](text))):
                found.append(f"{name}[{position}]: {value} shown as {text!r}")
    return found
"""

_LAST = 9_223_372_035 * 10**9  # Deephaven (42.7) cannot compute with instants of the last second of 64 bits
_NANOS = st.integers(-_LAST, _LAST) | st.integers(-(10**12), 10**12) | st.sampled_from([0, 1, 10**9, 10**18])
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", "null", " ", '"x"', "<script>alert(1)</script>", "a\u202eb", "\u200b", "\0", "e\u0301", "🎉🎉", "x" * 300, "-", "…"]
)


def integers(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1) - 1)


def column(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.none() | values, min_size=ROWS, max_size=ROWS)


COLUMNS = st.fixed_dictionaries(
    {
        "Byte": column(integers(8)),
        "Short": column(integers(16)),
        "Int": column(integers(32)),
        "Long": column(integers(64)),
        "Char": column(st.integers(1, 127) | st.integers(1, 0xD7FF)),
        # the lowest numbers stand for null
        "Float": column(st.floats(width=32).filter(lambda x: x > -3.4e38 or x == float("-inf") or x != x).map(float.hex)),
        "Double": column(st.floats().filter(lambda x: x > -1.7e308 or x == float("-inf") or x != x).map(float.hex)),
        "Boolean": column(st.booleans()),
        "String": column(_TEXTS),
        "Decimal": column(st.decimals(allow_nan=False, allow_infinity=False).map(str)),
        "Big": column(st.integers(-(10**60), 10**60).map(str)),
        "Nanos": column(_NANOS),
        "Days": column(st.integers(-800_000, 3_000_000)),
        "OfDay": column(st.integers(0, 86_399_999_999_999)),
        "Months": column(st.integers(-10_000, 10_000)),
    }
)


@pytest.fixture(scope="module")
def client(launched_kind: Kind) -> Iterator[Client]:
    made = launched_kind.open()
    made.ok(ON_SERVER)
    yield made
    made.close()


class Cells(HTMLParser):
    """The texts of a table's cells, row by row; None where the markup says null."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str | None]] = []
        self.names: list[str] = []
        self._inside = self._in_name = False
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "th":
            self.names.append("")
        self._in_name = tag == "th" or (self._in_name and tag != "br")
        if tag == "tr":
            self.rows.append([])
        elif tag == "td":
            self.rows[-1].append("")
            self._inside = True
        elif tag == "i" and self._inside:
            self.rows[-1][-1] = None

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "td"
        self._in_name &= tag != "th"

    def handle_data(self, data: str) -> None:
        if self._in_name:
            self.names[-1] += data
        if self._inside and self.rows[-1][-1] is not None:
            self.rows[-1][-1] = str(self.rows[-1][-1]) + data


def expected(name: str, value: Any) -> Any:
    """What the JSON of a plain value must be."""
    if value is None:
        return None
    if name == "Char":
        return chr(value)
    if name == "Long":
        return value if abs(value) <= 2**53 else str(value)
    return value


def same_number(value: str | None, shown: Any) -> bool:
    """Whether a number, in hexadecimal, is what is shown: to the last bit, of a float as a float."""
    if value is None or shown is None:
        return value is None and shown is None
    wanted, found = float.fromhex(value), float(shown)
    return (wanted != wanted and found != found) or wanted == found


# Without shrinking: each step makes a table on the server.
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
@given(COLUMNS)
def test_any_value_of_any_type(client: Client, columns: dict[str, list[Any]]) -> None:
    literal = json.dumps(json.dumps(columns))
    client.ok(f"tt_types = tt_make(json.loads({literal}))", show_tables=False)
    rows: list[dict[str, Any]] = [{} for _ in range(ROWS)]
    as_shown: list[dict[str, Any]] = [{} for _ in range(ROWS)]
    vectors: list[dict[str, Any]] = [{}]
    for part in ("[:16]", "[16:32]", "[32:]"):
        code = f"tt_part = tt_types.view([column.name for column in tt_types.columns]{part})\ntt_part.group_by()"
        plain, grouped = client.ok(code).tables
        show(client.preview(plain), rows, as_shown)
        show(client.preview(grouped), vectors, [{}])

    for name in ("Byte", "Short", "Int", "Long", "Char", "Boolean", "String"):
        assert [row[name] for row in rows] == [expected(name, value) for value in columns[name]], name
    check_numbers(columns, rows)
    check_arrays(columns, rows)
    check_as_read(rows, as_shown)
    for name in rows[0]:  # a vector has what its rows have
        assert vectors[0][name] == [row[name] for row in rows], name

    for shown in (rows, as_shown):
        literal = json.dumps(json.dumps([{name: row[name] for name in TIMES} for row in shown]))
        assert client.value(f"tt_differ(tt_types, json.loads({literal}))") == "[]"


def show(preview: TablePreview, rows: list[dict[str, Any]], as_shown: list[dict[str, Any]]) -> None:
    """Add a table's values to the rows: as programs read them, and as people do."""
    bundle = table_bundle(preview, options=OPTIONS)
    json.dumps(bundle, allow_nan=False).encode()
    resource: Any = bundle[DATARESOURCE]
    html = Cells(str(bundle["text/html"])).rows
    names = [column.name for column in preview.info.columns]
    cells = [dict(zip(names, cells, strict=True)) for cells in html if cells]
    for all_of_them, found in ((rows, resource["data"]), (as_shown, cells)):
        for row, more in zip(all_of_them, found, strict=True):
            row.update(more)
    check_text(str(bundle["text/plain"]), html)


TIMES = ("Instant", "Duration", "Date", "Time", "Zoned", "Period", "Enum")


def check_numbers(columns: dict[str, list[Any]], rows: list[dict[str, Any]]) -> None:
    import struct
    from decimal import Decimal

    for value, row in zip(columns["Double"], rows, strict=True):
        assert same_number(value, row["Double"]), (value, row)
    for value, row in zip(columns["Float"], rows, strict=True):
        shown = row["Float"]
        if isinstance(shown, (int, float)):  # the shortest that is this float
            shown = struct.unpack("f", struct.pack("f", shown))[0]
        assert same_number(value, shown), (value, row)
    for value, row in zip(columns["Decimal"], rows, strict=True):
        shown = row["Decimal"]
        assert (value is None and shown is None) or Decimal(value).compare_total(Decimal(shown)) == 0, (value, shown)
    for value, row in zip(columns["Big"], rows, strict=True):
        assert (None if value is None else int(value)) == (None if row["Big"] is None else int(row["Big"]))


def check_arrays(columns: dict[str, list[Any]], rows: list[dict[str, Any]]) -> None:
    for position, row in enumerate(rows):
        long, text, byte = columns["Long"][position], columns["String"][position], columns["Byte"][position]
        wanted = expected("Long", long)
        assert row["Longs"] == (None if long is None else [wanted, None, 7])
        assert row["Strings"] == (None if text is None else [text, None, ""])
        assert row["Bytes"] == [byte, 5]
        assert row["Ints"] == []
        assert row["Nested"] == [[wanted], None, []]
        for many, one in OBJECTS.items():
            assert row[many] == [row[one], None], many
        char = columns["Char"][position]
        assert row["Chars"] == [None if char is None else chr(char)]
        assert row["Doubles"][1] is None
        assert same_number(columns["Double"][position], row["Doubles"][0])


OBJECTS = {
    "Instants": "Instant",
    "Decimals": "Decimal",
    "Bigs": "Big",
    "Zoneds": "Zoned",
    "Periods": "Period",
    "Dates": "Date",
    "Times": "Time",
    "Durations": "Duration",
    "Enums": "Enum",
    "Booleans": "Boolean",
    "Shorts": "Short",
}


def check_as_read(rows: list[dict[str, Any]], as_shown: list[dict[str, Any]]) -> None:
    """What people read: null as such, elements of arrays as they are alone, texts in quotes there."""
    for row, read in zip(rows, as_shown, strict=True):
        assert {name for name, value in row.items() if value is None} == {name for name, text in read.items() if text is None}
        for name in ("Byte", "Short", "Int", "Char", "Decimal", "Big"):
            if read[name] is not None:
                plain = str(row[name])
                quoted = json.dumps(plain, ensure_ascii=False)
                assert read[name] in (pieces_visible(plain), pieces_visible(quoted)), (name, plain, read[name])
        for many in ("Longs", "Bytes", "Shorts"):
            if row[many] is not None:
                texts = ["null" if value is None else str(value) for value in row[many]]
                assert read[many] == f"[{', '.join(texts)}]", many
        for many in ("Strings", "Periods", "Enums", "Zoneds"):
            if row[many] is not None:
                assert read[many] == pieces_visible(json.dumps(row[many], ensure_ascii=False)), many


def pieces_visible(text: str) -> str:
    return "".join(piece for piece, _ in pieces(text))


NAMES = st.lists(
    # jpy (42.7) cuts characters beyond 16 bits
    st.text(st.characters(categories=["L", "Nd", "Pc", "Sc", "Mn", "Cf"], max_codepoint=0xFFFF), max_size=8).map("A{}".format),
    min_size=6,
    max_size=6,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate])
@given(NAMES)
def test_any_name_that_a_column_may_have(client: Client, names: list[str]) -> None:
    """Those that the server makes of any text: names with other letters, joiners, signs."""
    literal = json.dumps(json.dumps(names))
    client.ok(
        "tt_legal = java('io.deephaven.api.util.NameValidator').legalizeColumnNames("
        f"jpy.array('java.lang.String', json.loads({literal})), True)\ntt_legal = [str(name) for name in tt_legal]",
        show_tables=False,
    )
    run = client.ok("print(json.dumps(tt_legal))\nnew_table([int_col(name, [n]) for n, name in enumerate(tt_legal)])")
    legal = json.loads(run.text())
    preview = client.preview(run.tables[0])
    bundle = table_bundle(preview, options=OPTIONS)
    resource: Any = bundle[DATARESOURCE]
    assert [column.name for column in preview.info.columns] == legal
    assert resource["data"] == [{name: number for number, name in enumerate(legal)}]
    assert Cells(str(bundle["text/html"])).names == [pieces_visible(name) for name in legal]
    header = str(bundle["text/plain"]).splitlines()[1]
    assert all(pieces_visible(name) in header for name in legal)


def check_text(text: str, html: list[list[str | None]]) -> None:
    """Each line of the text form has the cells of the HTML's row, in their order."""
    lines = text.splitlines()[4:]
    for line, cells in zip(lines, [cells for cells in html if cells], strict=False):
        place = 0
        for cell in cells:
            found = line.find("null" if cell is None else cell, place)
            assert found >= place, (cell, line)
            place = found + len(cell or "null")


def test_the_time_zone_moves_what_is_read_and_not_what_is_kept(client: Client) -> None:
    run = client.ok("from deephaven import empty_table\ntt_z = empty_table(1).update('T = epochNanosToInstant(1)')")
    preview: TablePreview = client.preview(run.tables[0])
    bundle = table_bundle(preview, options=RenderOptions(time_zone="Asia/Kolkata"))
    resource: Any = bundle[DATARESOURCE]
    assert "1970-01-01T05:30:00.000000001+05:30" in str(bundle["text/plain"])
    assert resource["data"] == [{"T": "1970-01-01T00:00:00.000000001Z"}]


def test_what_has_no_type_of_its_own_shows_as_its_text(client: Client) -> None:
    run = client.ok(
        "from deephaven.column import pyobj_col\nclass Odd:\n    def __str__(self): raise ValueError('no text')\n"
        "tt_o = new_table([pyobj_col('P', [{'a': 1}, Odd(), None, 'x' * 20_000])])"
        ".update(['M = new java.util.HashMap()', 'U = java.util.UUID.fromString(`00000000-0000-0001-0000-000000000002`)'])"
    )
    preview = client.preview(run.tables[0])
    resource: Any = table_bundle(preview)[DATARESOURCE]
    texts = [row["P"] for row in resource["data"]]
    assert texts[0] == "{'a': 1}"
    assert texts[1].startswith("(cannot be read: ")
    assert texts[2] is None
    assert texts[3].endswith("… (20,000 characters)")
    assert resource["data"][0]["M"] == "{}"
    assert resource["data"][0]["U"] == "00000000-0000-0001-0000-000000000002"
