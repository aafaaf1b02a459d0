"""Whatever a table holds, rendering gives three sound forms of it and never raises."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dh_kernel.model import Column, TableInfo, TablePreview
from dh_kernel.render import RenderOptions, table_bundle
from dh_kernel.render.characters import display_width, visible

INT64 = st.integers(-(2**63), 2**63 - 1)
NAMES = st.text(st.characters(exclude_categories=()), max_size=20)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)


def arrow(pa_type: pa.DataType, values: st.SearchStrategy[object], rows: int) -> st.SearchStrategy[pa.Array]:
    return st.lists(st.none() | values, min_size=rows, max_size=rows).map(lambda drawn: pa.array(drawn, pa_type))


def temporal(pa_type: pa.DataType, rows: int) -> st.SearchStrategy[pa.Array]:
    bits = 64 if pa_type.bit_width == 64 else 32
    raw = st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    integers = pa.int64() if bits == 64 else pa.int32()
    return st.lists(st.none() | raw, min_size=rows, max_size=rows).map(lambda drawn: pa.array(drawn, integers).view(pa_type))


def columns(rows: int) -> st.SearchStrategy[tuple[str, pa.Array]]:
    """A Deephaven type with an array its server could send; and any type with any array, which it should not."""
    kinds: list[tuple[str, st.SearchStrategy[pa.Array]]] = [
        ("byte", arrow(pa.int8(), st.integers(-127, 127), rows)),
        ("char", arrow(pa.uint16(), st.integers(0, 0xFFFF), rows)),
        ("long", arrow(pa.int64(), INT64, rows)),
        ("float", arrow(pa.float32(), st.floats(width=32), rows)),
        ("double", arrow(pa.float64(), st.floats(), rows)),
        ("java.lang.Boolean", arrow(pa.bool_(), st.booleans(), rows)),
        ("java.lang.String", arrow(pa.string(), TEXTS, rows)),
        ("java.math.BigDecimal", arrow(pa.binary(), st.binary(max_size=30), rows)),
        ("java.math.BigInteger", arrow(pa.binary(), st.binary(max_size=30), rows)),
        ("byte[]", arrow(pa.binary(), st.binary(max_size=30), rows)),
        ("java.time.Instant", temporal(pa.timestamp("ns", "UTC"), rows)),
        ("java.time.LocalDateTime", temporal(pa.timestamp("s"), rows)),
        ("java.time.LocalDate", temporal(pa.date64(), rows)),
        ("java.time.LocalTime", temporal(pa.time64("ns"), rows)),
        ("java.time.LocalTime", temporal(pa.time32("s"), rows)),
        ("java.time.Duration", temporal(pa.duration("ns"), rows)),
        ("char[]", arrow(pa.list_(pa.uint16()), st.lists(st.none() | st.integers(0, 0xFFFF), max_size=20), rows)),
        (
            "java.lang.String[][]",
            arrow(pa.list_(pa.list_(pa.string())), st.lists(st.none() | st.lists(TEXTS, max_size=3)), rows),
        ),
        ("some.Object", arrow(pa.struct([("a", pa.int8())]), st.just({"a": 1}), rows)),
    ]
    right = st.one_of([st.tuples(st.just(name), arrays) for name, arrays in kinds])
    wrong = st.tuples(st.sampled_from([name for name, _ in kinds]) | NAMES, st.one_of([arrays for _, arrays in kinds]))
    return right | wrong


@st.composite
def previews(draw: st.DrawFn) -> TablePreview:
    rows = draw(st.integers(0, 4))
    drawn = draw(st.lists(columns(rows), max_size=6))
    names = draw(st.lists(NAMES, min_size=len(drawn), max_size=len(drawn)))
    info = TableInfo(
        draw(st.none() | NAMES),
        draw(NAMES),
        draw(st.none() | INT64),
        draw(st.booleans()),
        tuple(Column(name, type_name) for name, (type_name, _) in zip(names, drawn, strict=True)),
    )
    arrays = [array for _, array in drawn]
    # Arrow's own names are UTF-8; the renderer goes by position, so that a name is not needed to find its column
    data = pa.Table.from_arrays(arrays, names=[f"c{index}" for index in range(len(arrays))])
    problem = draw(st.none() | NAMES)
    return TablePreview(info, draw(st.sampled_from([data, data, data, None])), problem)


OPTIONS = st.builds(
    RenderOptions,
    rows=st.integers(-1, 6),
    columns=st.integers(-1, 7),
    cell_characters=st.integers(-1, 80),
    width=st.integers(-1, 150),
    time_zone=st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata", "nowhere"]),
    title_characters=st.integers(0, 50),
    full_characters=st.integers(0, 10_000),
)


class _Words(HTMLParser):
    """Collects text, and the tags that are open; fails on a tag that only a value could have brought in."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style", "class", "scope", "title", "colspan"}
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(previews(), OPTIONS)
def test_any_table_in_any_options(preview: TablePreview, options: RenderOptions) -> None:
    bundle = table_bundle(preview, options=options)
    text, html, resource = bundle["text/plain"], bundle["text/html"], bundle["application/vnd.dataresource+json"]
    json.dumps(bundle, allow_nan=False, ensure_ascii=False).encode()
    assert isinstance(text, str)
    assert isinstance(html, str)
    assert isinstance(resource, dict)

    if preview.problem is None and preview.data is not None:
        assert max(map(display_width, text.split("\n"))) <= max(options.width, 20)
    assert [line for line in text.split("\n") if visible(line) != line] == []

    page = _Words()
    page.feed(html)
    page.close()
    assert page.open == []
    assert [word for word in page.words if visible(word.strip("\n")) != word.strip("\n")] == []

    shown = resource["deephaven"]["shown"]
    assert len(resource["data"]) == shown
    assert all(set(row) == {field["name"] for field in resource["schema"]["fields"]} for row in resource["data"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | TEXTS, min_size=1, max_size=10))
def test_strings_survive_in_json(values: list[str | None]) -> None:
    info = TableInfo("t", "Table", len(values), False, (Column("S", "java.lang.String"),))
    resource = table_bundle(TablePreview(info, pa.table({"S": pa.array(values, pa.string())})))[
        "application/vnd.dataresource+json"
    ]
    assert isinstance(resource, dict)
    assert [row["S"] for row in resource["data"]] == values
