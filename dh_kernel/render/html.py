"""A sheet as an HTML table that reads well in any theme: inherited colours, inline styles, everything escaped.

Inline only, and only properties that JupyterLab's sanitizer lets pass, since it strips `<style>` from untrusted notebooks.
Differences are made by position, slant and opacity, never by colour. The two class names style nothing: they keep MathJax
(Lab's and nbviewer's) from reading `$` in values as formulas.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from dh_kernel.render.characters import ELLIPSIS, cut, pieces, visible
from dh_kernel.render.options import RenderOptions
from dh_kernel.render.sheet import Sheet, SheetColumn, gap_text, last_line, notice, title_texts, tree_mark
from dh_kernel.render.typenames import is_numeric, short_name
from dh_kernel.render.values import Cell, Mark

_IGNORED_BY_MATHJAX = "tex2jax_ignore mathjax_ignore"
_TABLE = "border-collapse:collapse;border:none;margin:0.3em 0;font-size:0.95em"
_CAPTION = "caption-side:top;text-align:left;padding:0.2em 0.7em;font-weight:normal;color:inherit"
_TITLE = "width:0;white-space:nowrap"  # no width of its own: a long caption must not pull a narrow table's columns apart
_HEAD = "border:none;border-bottom:1px solid;padding:0.25em 0.7em;white-space:pre;vertical-align:bottom;line-height:1.3"
_CELL = "border:none;padding:0.2em 0.7em;white-space:pre;vertical-align:top;line-height:1.35"
_WORDS = "padding:0.2em 0.7em;font-size:0.95em"
_TYPE = "font-weight:normal;font-size:0.85em;opacity:0.65"
_DIM = "opacity:0.6"
_NULL = "font-style:italic;opacity:0.6"


def to_html(sheet: Sheet, options: RenderOptions) -> str:
    """The table as one `<div>`, which scrolls where it is too wide."""
    return "\n".join(
        [
            '<div style="overflow-x:auto;max-width:100%">',
            f'<table class="{_IGNORED_BY_MATHJAX}" style="{_TABLE}">',
            _caption(sheet, options),
            *_head(sheet, options),
            *_body(sheet, options),
            "</table>",
            *_words(sheet),
            "</div>",
        ]
    )


def _caption(sheet: Sheet, options: RenderOptions) -> str:
    name, rest = title_texts(sheet)
    # <bdi>: a name written from right to left must not reorder the numbers after it
    title = f"<b><bdi>{_cut_markup(name, options)}</bdi></b> — {_markup(rest)}"
    return f'<caption style="{_CAPTION}"><div style="{_TITLE}">{title}</div></caption>'


def _head(sheet: Sheet, options: RenderOptions) -> Iterator[str]:
    if not sheet.columns:
        return
    cells = [_head_cell(column, options) for column in sheet.columns]
    if sheet.hidden:
        title = f"{sheet.hidden:,} columns hidden" if sheet.hidden > 1 else "1 column hidden"
        cells.insert(sheet.left, _th(ELLIPSIS, f"{sheet.hidden:,} more", title, right=False))
    if sheet.tree is not None:
        cells.insert(0, _th("level", "", "", right=False))
    yield f"<thead><tr>{''.join(cells)}</tr></thead>"


def _head_cell(sheet_column: SheetColumn, options: RenderOptions) -> str:
    column = sheet_column.column
    short = _cut_markup(short_name(column.type), options)
    return _th(_cut_markup(column.name, options), short, _title(column.type, options), right=is_numeric(column.type))


def _th(name: str, below: str, title: str, *, right: bool) -> str:
    style = f"{_HEAD};text-align:{'right' if right else 'left'}"
    if not below:
        return f'<th scope="col" style="{style}">{name}</th>'
    return f'<th scope="col" style="{style}">{name}<br><span style="{_TYPE}" title="{title}">{below}</span></th>'


def _body(sheet: Sheet, options: RenderOptions) -> Iterator[str]:
    yield "<tbody>"
    styles = [f"{_CELL};text-align:{'right' if is_numeric(column.column.type) else 'left'}" for column in sheet.columns]
    for row in range(sheet.shown if sheet.columns else 0):
        cells = [_td(column.cells[row], style, options) for column, style in zip(sheet.columns, styles, strict=True)]
        if sheet.hidden:
            cells.insert(sheet.left, f'<td style="{_CELL};text-align:left"><span style="{_DIM}">{ELLIPSIS}</span></td>')
        if sheet.tree is not None:
            cells.insert(0, f'<td style="{_CELL};text-align:left">{escape(tree_mark(sheet.tree[row]))}</td>')
        if row == sheet.gap:
            yield _gap(sheet)
        yield f"<tr>{''.join(cells)}</tr>"
    if sheet.columns and sheet.gap == sheet.shown:
        yield _gap(sheet)
    yield "</tbody>"


def _gap(sheet: Sheet) -> str:
    width = len(sheet.columns) + (sheet.hidden > 0) + (sheet.tree is not None)
    return f'<tr><td colspan="{width}" style="{_CELL};text-align:left"><span style="{_DIM}">{gap_text(sheet)}</span></td></tr>'


def _td(cell: Cell, style: str, options: RenderOptions) -> str:
    text = cell.unambiguous
    title = f' title="{_title(text, options)}"' if len(text) > options.cell_characters else ""
    markup = _cut_markup(text, options)
    if cell.mark is Mark.NULL:
        markup = f'<i style="{_NULL}">{markup}</i>'
    elif cell.mark is Mark.PROBLEM or (cell.mark is Mark.STRING and not cell.text):
        markup = f'<span style="{_DIM}">{markup}</span>'
    return f'<td style="{style}"{title}>{markup}</td>'


def _words(sheet: Sheet) -> Iterator[str]:
    """What stands in place of rows, and what is missing: below the table, where a long line does not stretch the columns."""
    words = notice(sheet)
    if words is not None:
        text = "<br>".join(map(_markup, words.split("\n")))
        yield f'<div style="{_WORDS};white-space:pre-wrap">{text}</div>'
    missing = last_line(sheet, len(sheet.columns))
    if missing is not None:
        yield f'<div style="{_WORDS};{_DIM}">{_markup(missing)}</div>'


def _title(text: str, options: RenderOptions) -> str:
    return escape(visible(cut(text, options.title_characters)))


def _cut_markup(text: str, options: RenderOptions) -> str:
    return _markup(cut(text, max(options.cell_characters, 1)))


def _markup(text: str) -> str:
    return "".join(
        f'<span style="{_DIM}">{escape(piece)}</span>' if is_escape else escape(piece) for piece, is_escape in pieces(text)
    )
