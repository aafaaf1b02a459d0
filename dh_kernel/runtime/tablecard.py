"""What inspection shows of a table: its schema, size, whether it ticks, its attributes; as text and as HTML. Pure.

Neighbours: `inspection` (asks), `livetables` (the facts). HTML has inline styles only and inherits its colours.
"""

from __future__ import annotations

import html

from .columns import short_type
from .livetables import Facts
from .tableshape import Shape

_MOST_COLUMNS = 500
_FLAGS = {
    "BlinkTable": "blink",
    "AppendOnly": "append-only",
    "AddOnly": "add-only",
    "InputTable": "input",
    "TestSource": "test source",
}
_CELL = "padding: 0.1em 0.8em 0.1em 0; text-align: left; border: none; background: none"


def text(shape: Shape, facts: Facts | None, name: str | None) -> str:
    """The plain text."""
    lines = [f"{label + ':':<12}{value}" for label, value in _facts(shape, facts, name)]
    width = max((len(column) for column in shape.columns), default=0)
    lines.append("Columns:")
    lines += [f"  {column:<{width}}  {short_type(kind)}".rstrip() for column, kind in _first(shape)]
    return "\n".join([*lines, *_rest(shape, "  ")])


def markup(shape: Shape, facts: Facts | None, name: str | None) -> str:
    """The HTML."""
    about = "".join(
        f'<div style="margin: 0.1em 0"><b>{html.escape(label)}</b>: {html.escape(value)}</div>'
        for label, value in _facts(shape, facts, name)
    )
    rows = "".join(
        f'<tr style="background: none"><td style="{_CELL}">{html.escape(column)}</td>'
        f'<td style="{_CELL}" title="{html.escape(kind)}">{html.escape(short_type(kind))}</td></tr>'
        for column, kind in _first(shape)
    )
    head = f'<tr><th scope="col" style="{_CELL}">Column</th><th scope="col" style="{_CELL}">Type</th></tr>'
    more = "".join(f"<div>{html.escape(line)}</div>" for line in _rest(shape, ""))
    table = f'<table style="border-collapse: collapse; margin: 0.4em 0"><thead>{head}</thead><tbody>{rows}</tbody></table>'
    return f"<div>{about}{table}{more}</div>"


def _facts(shape: Shape, facts: Facts | None, name: str | None) -> list[tuple[str, str]]:
    found = [("Type", facts.kind if facts is not None else shape.kind)]
    if name:
        found.insert(0, ("Name", name))
    columns = _counted(len(shape.columns), "column")
    if facts is None:
        return [*found, ("Size", f"not made yet, {columns}")]
    if facts.rows is not None:
        found.append(("Size", f"{_counted(facts.rows, 'row')}, {columns}"))
    else:
        found.append(("Size", f"rows not counted, {columns}"))
    if facts.refreshing is not None:
        found.append(("Refreshing", "yes" if facts.refreshing else "no"))
    flags = [word for key, word in _FLAGS.items() if facts.attributes.get(key, "false").lower() != "false"]
    if flags:
        found.append(("Kind", ", ".join(flags)))
    if "SortedColumns" in facts.attributes:
        found.append(("Sorted by", facts.attributes["SortedColumns"]))
    if facts.attributes:
        found.append(("Attributes", ", ".join(f"{key}={value}" for key, value in sorted(facts.attributes.items()))))
    return found


def _first(shape: Shape) -> list[tuple[str, str]]:
    return list(shape.columns.items())[:_MOST_COLUMNS]


def _rest(shape: Shape, indent: str) -> list[str]:
    hidden = len(shape.columns) - _MOST_COLUMNS
    return [f"{indent}and {_counted(hidden, 'more column')}"] if hidden > 0 else []


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
