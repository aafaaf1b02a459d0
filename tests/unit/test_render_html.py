"""The HTML form: what a reader sees, and what no value can do to the page."""

from __future__ import annotations

from html.parser import HTMLParser

import pyarrow as pa

from dh_kernel.model import Column, TableInfo, TablePreview
from dh_kernel.render import RenderOptions, table_bundle

ALLOWED_TAGS = {"div", "table", "caption", "b", "bdi", "thead", "tbody", "tr", "th", "td", "br", "span", "i"}
ALLOWED_ATTRIBUTES = {"style", "class", "scope", "title", "colspan"}
INSTANT = pa.timestamp("ns", "UTC")


class Page(HTMLParser):
    """The page as elements: fails on what the renderer must not write, and on tags that do not match."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.titles: list[str] = []
        self.caption = ""
        self.below: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []
        self.below = [words.strip("\n") for words in self.below]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ALLOWED_TAGS
        names = [name for name, _ in attrs]
        assert set(names) <= ALLOWED_ATTRIBUTES
        assert len(names) == len(set(names))
        self.titles += [value or "" for name, value in attrs if name == "title"]
        if tag == "br":
            self.handle_data("\n")
            return
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        elif tag == "div" and "table" not in self.open:
            self.below.append("")
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "caption" in self.open:
            self.caption += data
        elif "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        elif "table" not in self.open and self.open:
            self.below[-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")


def html(table: list[tuple[str, str, pa.Array]], *, rows: int | None, name: str | None = "t", **options: object) -> str:
    data = pa.Table.from_arrays([column[2] for column in table], names=[column[0] for column in table])
    info = TableInfo(name, "Table", rows, False, tuple(Column(column, type_name) for column, type_name, _ in table))
    markup = table_bundle(TablePreview(info, data), options=RenderOptions(**options))["text/html"]  # type: ignore[arg-type]
    assert isinstance(markup, str)
    return markup


def test_the_markup_of_a_small_table() -> None:
    head = "border:none;border-bottom:1px solid;padding:0.25em 0.7em;white-space:pre;vertical-align:bottom;line-height:1.3"
    cell = "border:none;padding:0.2em 0.7em;white-space:pre;vertical-align:top;line-height:1.35"
    caption = "caption-side:top;text-align:left;padding:0.2em 0.7em;font-weight:normal;color:inherit"
    kind = "font-weight:normal;font-size:0.85em;opacity:0.65"
    columns = [("X", "long", pa.array([1])), ("When", "java.time.Instant", pa.array([None], INSTANT))]
    assert html(columns, rows=2_000).splitlines() == [
        '<div style="overflow-x:auto;max-width:100%">',
        '<table class="tex2jax_ignore mathjax_ignore" '
        'style="border-collapse:collapse;border:none;margin:0.3em 0;font-size:0.95em">',
        f'<caption style="{caption}"><div style="width:0;white-space:nowrap"><b><bdi>t</bdi></b>'
        " — 2,000 rows × 2 columns</div></caption>",  # noqa: RUF001
        f'<thead><tr><th scope="col" style="{head};text-align:right">X<br><span style="{kind}" title="long">long</span></th>'
        f'<th scope="col" style="{head};text-align:left">When<br><span style="{kind}" title="java.time.Instant">Instant</span>'
        "</th></tr></thead>",
        "<tbody>",
        f'<tr><td style="{cell};text-align:right">1</td><td style="{cell};text-align:left">'
        '<i style="font-style:italic;opacity:0.6">null</i></td></tr>',
        f'<tr><td colspan="2" style="{cell};text-align:left"><span style="opacity:0.6">'
        "… 1,999 rows not shown</span></td></tr>",
        "</tbody>",
        "</table>",
        '<div style="padding:0.2em 0.7em;font-size:0.95em;opacity:0.6">1 of 2,000 rows</div>',
        "</div>",
    ]


def test_null_empty_and_the_word_null_differ() -> None:
    markup = html([("S", "java.lang.String", pa.array([None, "", "null", "x"]))], rows=4)
    cells = [line.split(">", 2)[2].removesuffix("</td></tr>") for line in markup.splitlines() if line.startswith("<tr><td")]
    assert cells == [
        '<i style="font-style:italic;opacity:0.6">null</i>',
        '<span style="opacity:0.6">&quot;&quot;</span>',
        "&quot;null&quot;",
        "x",
    ]


def test_markup_in_names_types_and_values_is_text() -> None:
    evil = "\"'><script>alert(1)</script><!-- & \u202e\0"
    page = Page(html([(evil, evil, pa.array([evil]))], rows=1, name=evil))
    shown = "\"'><script>alert(1)</script><!-- & \\u202e\\x00"
    assert page.caption == f"{shown} — 1 row × 1 column"  # noqa: RUF001
    assert page.rows[0] == [f"{shown}\n{shown}"]
    assert page.rows[1] == ['"\\"\'><script>alert(1)</script><!-- & \\u202e\\\\u0000"'.replace("\\\\u0000", "\\u0000")]
    assert page.titles == [shown]


def test_long_values_are_cut_with_more_in_the_title() -> None:
    value = "x" * 2_000
    page = Page(html([("S", "java.lang.String", pa.array([value, "short"]))], rows=2))
    assert page.rows[1:] == [["x" * 59 + "…"], ["short"]]
    assert page.titles == ["java.lang.String", "x" * 999 + "…"]


def test_hidden_columns_are_counted() -> None:
    page = Page(html([(f"C{index}", "int", pa.array([index])) for index in range(10)], rows=1, columns=3))
    assert page.rows == [["C0\nint", "C1\nint", "…\n7 more", "C9\nint"], ["0", "1", "…", "9"]]
    assert "7 columns hidden" in page.titles
    assert page.below[1:] == ["3 of 10 columns"]


def test_without_rows_the_schema_and_the_reason_show() -> None:
    info = TableInfo("t", "Table", None, True, (Column("X", "int"),))
    page = Page(str(table_bundle(TablePreview(info, None, "line <1>\nline 2"))["text/html"]))
    assert page.caption == "t — unknown number of rows × 1 column · refreshing"  # noqa: RUF001
    assert page.rows == [["X\nint"]]
    assert page.below[1:] == ["rows could not be read: line <1>\nline 2"]


def test_zero_columns_and_zero_rows() -> None:
    page = Page(html([], rows=3))
    assert (page.caption, page.rows, page.below[1:]) == ("t — 3 rows × 0 columns", [], ["no columns"])  # noqa: RUF001
    assert Page(html([("X", "int", pa.array([], pa.int32()))], rows=0)).below[1:] == ["no rows"]
