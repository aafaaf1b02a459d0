"""From a table's description and its first rows to a MIME bundle: data in, dict out.

Pure: no network, no clock, no state, no Deephaven; of the package it knows only `model`. The only file it may read is the
time zone database. Neighbours: a session makes the `TablePreview`, the kernel sends the bundle.

    options   -> what to show, how much of it
    values    -> Arrow columns to cells (with temporal, numerals for what Deephaven packs into bytes and integers)
    sheet     -> which rows and columns, the caption, the last line
    text, html, dataresource -> the three forms of one sheet
"""

from __future__ import annotations

from dh_kernel.model import TablePreview
from dh_kernel.render.dataresource import to_dataresource
from dh_kernel.render.html import to_html
from dh_kernel.render.options import RenderOptions
from dh_kernel.render.sheet import lay_out, parts_left_out
from dh_kernel.render.text import to_text

__all__ = ["RenderOptions", "table_bundle"]

DEFAULTS = RenderOptions()
DATARESOURCE = "application/vnd.dataresource+json"


def table_bundle(preview: TablePreview, *, options: RenderOptions = DEFAULTS) -> dict[str, object]:
    """Render a table as `text/plain`, `text/html` and a Frictionless tabular data resource.

    Never raises for a value it cannot read: that one cell then says so. The result passes
    `json.dumps(allow_nan=False)` and encodes as UTF-8.
    """
    sheet = lay_out(preview, options)
    text, html, resource = to_text(sheet, options), to_html(sheet, options), to_dataresource(sheet)
    if preview.parts:
        parts = [table_bundle(part, options=options) for part in preview.parts]
        more = parts_left_out(preview)
        text = "\n\n".join([text, *(str(part["text/plain"]) for part in parts), *([more] if more else [])])
        html = "\n".join(
            [
                html,
                *(str(part["text/html"]) for part in parts),
                *([f'<div style="padding:0.2em 0.7em;font-size:0.95em">{more}</div>'] if more else []),
            ]
        )
        resource["parts"] = [part[DATARESOURCE] for part in parts]
    return {"text/plain": text, "text/html": html, DATARESOURCE: resource}
