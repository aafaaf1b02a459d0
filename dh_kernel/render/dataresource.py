"""A sheet as a Frictionless tabular data resource: exact values for programs, and for whoever reads the notebook later.

Null is null; integers beyond 2^53 and numbers that are not a JSON number are strings (a lexical form the table schema allows);
BigDecimal always is, for its digits; instants are in UTC with nanoseconds; arrays are arrays, other Java objects their text.
"""

from __future__ import annotations

from dh_kernel.render.characters import encodable
from dh_kernel.render.sheet import Sheet
from dh_kernel.render.typenames import frictionless_type


def to_dataresource(sheet: Sheet) -> dict[str, object]:
    """The shown rows and columns.

    `deephaven` has `columns`, their true number, only where some are hidden; `head`, how many rows come before those that
    are not shown, only where others come behind; `problem` only where rows could not be read; a
    tree's `levels` and `expanded`.
    """
    info = sheet.info
    names = _unique([encodable(column.column.name) for column in sheet.columns])
    fields = [_field(name, column.column.type) for name, column in zip(names, sheet.columns, strict=True)]
    rows = [
        {name: column.cells[row].json for name, column in zip(names, sheet.columns, strict=True)}
        for row in range(sheet.shown if sheet.columns else 0)
    ]
    about: dict[str, object] = {
        "kind": encodable(info.kind),
        "rows": sheet.total,
        "shown": len(rows),
        "refreshing": info.refreshing,
    }
    if info.flavors:
        about["flavors"] = list(info.flavors)
    if sheet.gap is not None and sheet.gap < len(rows):
        about["head"] = sheet.gap
    if sheet.tree is not None:
        about["levels"] = [branch.level for branch in sheet.tree]
        about["expanded"] = [branch.expanded for branch in sheet.tree]
    if sheet.hidden:
        about["columns"] = info.width
    if sheet.problem is not None:
        about["problem"] = encodable(sheet.problem)
    return {
        "profile": "tabular-data-resource",
        "name": None if info.name is None else encodable(info.name),
        "schema": {"fields": fields},
        "data": rows,
        "deephaven": about,
    }


def _field(name: str, type_name: str) -> dict[str, object]:
    return {"name": name, "type": frictionless_type(type_name), "deephavenType": encodable(type_name)}


def _unique(names: list[str]) -> list[str]:
    """The names, a repeated one with a number: a row is an object, and must not lose a value to another's key."""
    seen: set[str] = set()
    for position, name in enumerate(names):
        number = 2
        while names[position] in seen:
            names[position] = f"{name} ({number})"
            number += 1
        seen.add(names[position])
    return names
