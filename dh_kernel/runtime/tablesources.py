"""The columns of tables that functions of Deephaven's make: `empty_table`, `time_table`, `new_table`, `merge` …

Neighbours: `inference` (calls it), `tableshape` (what methods do). Refuses to call them.
"""

from __future__ import annotations

import ast
import types
from collections.abc import Callable
from typing import Any

from . import namelookup
from .operations import FUNCTIONS
from .tableshape import Evaluator, Shape, apply_operation, called_name

_COLUMN_TYPES = {
    "bool_col": "java.lang.Boolean",
    "byte_col": "byte",
    "char_col": "char",
    "short_col": "short",
    "int_col": "int",
    "long_col": "long",
    "float_col": "float",
    "double_col": "double",
    "string_col": "java.lang.String",
    "datetime_col": "java.time.Instant",
    "pyobj_col": "org.jpy.PyObject",
}
_DTYPES = {
    "bool_": "java.lang.Boolean",
    "byte": "byte",
    "int8": "byte",
    "short": "short",
    "int16": "short",
    "char": "char",
    "int32": "int",
    "int_": "long",
    "int64": "long",
    "long": "long",
    "float32": "float",
    "single": "float",
    "float64": "double",
    "double": "double",
    "float_": "double",
    "string": "java.lang.String",
    "Instant": "java.time.Instant",
    "LocalDate": "java.time.LocalDate",
    "LocalTime": "java.time.LocalTime",
    "ZonedDateTime": "java.time.ZonedDateTime",
    "Duration": "java.time.Duration",
    "Period": "java.time.Period",
    "BigDecimal": "java.math.BigDecimal",
    "BigInteger": "java.math.BigInteger",
    "PyObject": "org.jpy.PyObject",
    "bool": "java.lang.Boolean",
    "int": "long",
    "float": "double",
    "str": "java.lang.String",
}


def is_deephavens(function: Any) -> bool:
    """Whether a function or class is of one of Deephaven's modules."""
    return (type(function) is types.FunctionType or namelookup.is_a(function, type)) and (
        namelookup.module_name(function).partition(".")[0] == "deephaven"
    )


def source_shape(function: Any, call: ast.Call, known: Evaluator) -> Shape | None:
    """The table that a call of one of Deephaven's functions makes, None if it is none of those."""
    if not is_deephavens(function) or type(function) is not types.FunctionType:
        return None
    name = function.__name__
    source = _SOURCES.get(name)
    if source is not None:
        columns = source(call, known)
        return Shape(columns) if columns is not None else None
    operation = FUNCTIONS.get(name)
    if operation is None or operation.effect == "none":
        return None
    first = next(iter(call.args), None) or _keyword(call, operation.parameters[0][0])
    table = known.shape(first)
    return apply_operation(table, operation, call, known) if table is not None else None


def _keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)


def _first(call: ast.Call, name: str) -> ast.expr | None:
    return call.args[0] if call.args else _keyword(call, name)


def _empty(call: ast.Call, known: Evaluator) -> dict[str, str]:
    return {}


def _timed(call: ast.Call, known: Evaluator) -> dict[str, str]:
    return {"Timestamp": "java.time.Instant"}


def _new(call: ast.Call, known: Evaluator) -> dict[str, str] | None:
    node = _first(call, "cols")
    if isinstance(node, ast.Dict):
        return dict.fromkeys(_names(node), "")
    found: dict[str, str] = {}
    for part in known.parts(node):
        name = called_name(part)
        if isinstance(part, ast.Call) and (name in _COLUMN_TYPES or name == "jobj_col"):
            found.update(dict.fromkeys(known.texts(_first(part, "name")), _COLUMN_TYPES.get(name, "")))
    return found


def _merged(call: ast.Call, known: Evaluator) -> dict[str, str] | None:
    for part in known.parts(_first(call, "tables")):
        shape = known.shape(part)
        if shape is not None:
            return shape.columns
    return None


def _input(call: ast.Call, known: Evaluator) -> dict[str, str] | None:
    initial = known.shape(_keyword(call, "init_table"))
    if initial is not None:
        return initial.columns
    node = _first(call, "col_defs")
    if not isinstance(node, ast.Dict):
        return None
    return {name: _dtype(value) for name, value in zip(_names(node), node.values, strict=False)}


def _names(node: ast.Dict) -> list[str]:
    return [key.value for key in node.keys if isinstance(key, ast.Constant) and type(key.value) is str]


def _dtype(node: ast.expr) -> str:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return _DTYPES.get(name, "")


_SOURCES: dict[str, Callable[[ast.Call, Evaluator], dict[str, str] | None]] = {
    "empty_table": _empty,
    "time_table": _timed,
    "new_table": _new,
    "merge": _merged,
    "merge_sorted": _merged,
    "input_table": _input,
}
