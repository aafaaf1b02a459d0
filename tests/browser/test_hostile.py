"""Names, types, values and errors that want to be markup, in a real browser: nothing of them runs, all of them can be read."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow as pa
from chromium import Page

from dh_kernel.model import Column, Excerpt, TableInfo, TablePreview
from dh_kernel.render import RenderOptions, table_bundle

MARK = "document.title='RAN'"
PAYLOADS = [
    f"<script>{MARK}</script>",
    f'<img src=x onerror="{MARK}">',
    f'"><svg onload={MARK}>',
    f"' onmouseover='{MARK}' x='",
    f'" autofocus onfocus="{MARK}" x="',
    f"</td></tr></table><script>{MARK}</script>",
    f'</caption><iframe srcdoc="<script>parent.{MARK}</script>"></iframe>',
    f"<!--><script>{MARK}</script>-->",
    f"<![CDATA[><script>{MARK}</script>]]>",
    f"<style>@import 'x'</style><script>{MARK}</script>",
    f'<a href="javascript:{MARK}">x</a>',
    f"&lt;script&gt;{MARK}&lt;/script&gt;&#x3c;script&#x3e;{MARK}",
    f"\u202e<script>{MARK}</script>\u200b",
    f"\x00<script>{MARK}</script>\ud800",
    f"`${{{MARK}}}` $x$ \\(x\\) {{{{{MARK}}}}}",
    f"<math><mtext><table><mglyph><style><img src=x onerror={MARK}>",
]
ALLOWED = {"DIV", "TABLE", "CAPTION", "B", "BDI", "THEAD", "TBODY", "TR", "TH", "TD", "BR", "SPAN", "I"}


def previews() -> list[TablePreview]:
    """Each payload in each place that shows a text."""
    made = []
    for evil in PAYLOADS:
        names = [evil, f"{evil}2", "C"]
        columns = tuple(Column(name, kind) for name, kind in zip(names, ["java.lang.String", evil, f"{evil}[]"], strict=True))
        text = evil.encode("utf-8", "replace").decode()
        values = [pa.array([text, None, text * 2000]), pa.array([text, "", text]), pa.array([[text], None, []])]
        data = pa.Table.from_arrays(values, names=["a", "b", "c"])
        info = TableInfo(evil, evil, 100, True, columns, 50, (evil,))
        tree = pa.Table.from_arrays([pa.array([1, 2, 2]), pa.array([True, False, None]), *values], names=list("deabc"))
        whole = TablePreview(info, data, None, Excerpt(2), 10**18)
        failed = TablePreview(info, None, f"{evil}\n{evil}")
        made += [whole, failed, TablePreview(info, tree, excerpt=Excerpt(tree=True)), TablePreview(info, None, pending=True)]
        made.append(TablePreview(info, data, parts=(whole, failed)))
    return made


def test_no_script_runs_and_all_is_text(page: Page, tmp_path: Path) -> None:
    options = [RenderOptions(), RenderOptions(rows=2, columns=1, cell_characters=7, title_characters=9)]
    tables = [str(table_bundle(each, options=one)["text/html"]) for each, one in itertools.product(previews(), options)]
    file = tmp_path / "hostile.html"
    head = f'<!doctype html><meta charset="utf-8"><title>quiet</title><body data-tables="{len(tables)}">'
    file.write_text(head + "\n".join(f"<section>{each}</section>" for each in tables) + "<p id=end>end", "utf-8")
    page.go(file.as_uri())
    page.wait("document.readyState === 'complete' && document.querySelector('#end') !== null")
    # also as front ends put it in: as the inner HTML of an element, after the page has been loaded
    page.value(
        "(() => { for (const s of [...document.querySelectorAll('section')]) { const d = document.createElement('section');"
        " d.innerHTML = s.innerHTML; document.body.append(d) } return true })()"
    )
    page.value(
        "(() => { for (const e of document.querySelectorAll('section *'))"
        " for (const kind of ['mouseover', 'focus', 'click', 'load', 'error']) e.dispatchEvent(new Event(kind));"
        " return true })()"
    )
    page.value("new Promise(done => requestAnimationFrame(() => setTimeout(() => done(true))))")
    assert page.value("document.title") == "quiet"
    found = page.value("[...new Set([...document.querySelectorAll('section *')].map(e => e.tagName))]")
    assert set(found) <= ALLOWED
    attributes = page.value("[...new Set([...document.querySelectorAll('section *')].flatMap(e => e.getAttributeNames()))]")
    assert set(attributes) <= {"style", "class", "scope", "title", "colspan"}
    assert page.value("document.querySelectorAll('section').length") == 2 * len(tables)
    assert page.value("performance.getEntriesByType('resource').length") == 0, "nothing was fetched"
    text = page.value("document.querySelector('section').innerText")
    assert f"<script>{MARK}</script>" in text


def test_the_test_sees_a_script_that_runs(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "control.html"
    file.write_text(f"<!doctype html><title>quiet</title>{PAYLOADS[0]}{PAYLOADS[1]}", "utf-8")
    page.go(file.as_uri())
    page.wait("document.title === 'RAN'")
