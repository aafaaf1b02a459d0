"""The columns of tables that are not made yet: what a chain of operations does to the columns of the table it starts from.

Neighbours: `operations` (what each does), `inference` (evaluates expressions), `livetables`. Refuses to touch a real table.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from .operations import AGGREGATIONS, FORMULA_VARIABLES, TABLE_OPERATIONS, UPDATES, Operation

TABLE, PARTITIONED, PROXY = "Table", "PartitionedTable", "PartitionedTableProxy"
_ASSIGNED = re.compile(r"\s*([^\W\d]\w*)\s*=(?!=)(.*)", re.DOTALL)
_NAME = re.compile(r"[^\W\d]\w*")
_ARITHMETIC = re.compile(r"[\w\s.+*%()-]+")
_CAST = re.compile(r"\s*\(\s*(byte|short|int|long|float|double|char|boolean|String|Instant)\s*\)")
_LITERALS = (
    (re.compile(r"`[^`]*`|\"[^\"]*\""), "java.lang.String"),
    (re.compile(r"true|false"), "java.lang.Boolean"),
    (re.compile(r"now\(\)"), "java.time.Instant"),
)
_NUMBERS = re.compile(r"(?<![\w.])(\d+\.\d*|\.\d+|\d+)([LlfFdD]?)")
_WIDTHS = ("int", "long", "float", "double")
_NARROW = {"byte": "int", "short": "int"}
_QUALIFIED = {"String": "java.lang.String", "Instant": "java.time.Instant"}


@dataclass(frozen=True)
class Shape:
    """The columns of a table, by name with Deephaven's type, "" where that is not known. A partitioned one has its parts'."""

    columns: dict[str, str]
    kind: str = TABLE
    name: str | None = None


class Evaluator(Protocol):
    """What is known of expressions."""

    def texts(self, node: ast.expr | None) -> list[str]:
        """The texts of a text or of a list of them, as far as they are known."""

    def shape(self, node: ast.expr | None) -> Shape | None:
        """The table that an expression is."""

    def parts(self, node: ast.expr | None) -> list[ast.expr]:
        """The elements of a list, or the expression alone."""


def arguments(call: ast.Call, operation: Operation) -> dict[str, ast.expr]:
    """A call's arguments by the names of the parameters."""
    names = [name for name, _ in operation.parameters]
    given = dict(zip(names, call.args, strict=False))
    given.update({keyword.arg: keyword.value for keyword in call.keywords if keyword.arg is not None})
    return given


def apply(shape: Shape, method: str, call: ast.Call, known: Evaluator) -> Shape | None:
    """The table that a method makes; None where that is no table, or not known."""
    operation = TABLE_OPERATIONS.get(method)
    if operation is None:
        return None
    return apply_operation(shape, operation, call, known)


def apply_operation(shape: Shape, operation: Operation, call: ast.Call, known: Evaluator) -> Shape | None:
    """As `apply`, for an operation at hand."""
    effect = _EFFECTS.get(operation.effect)
    if effect is None:
        return None
    given = arguments(call, operation)
    made = effect(shape.columns, given, known)
    kind = PARTITIONED if operation.effect == "partition" else shape.kind
    return Shape(made, kind) if made is not None else None


def apply_partitioned(shape: Shape, operation: Operation) -> Shape | None:
    """The table, or partitioned table, that a method of partitioned tables makes."""
    kinds = {"proxy": PROXY, "merge": TABLE, "same": PARTITIONED}
    return replace(shape, kind=kinds[operation.effect], name=None)


def assigned(formula: str) -> tuple[str, str]:
    """The column that a formula makes, and what it is made of; a column alone is both."""
    found = _ASSIGNED.fullmatch(formula)
    return (found[1], found[2].strip()) if found else (formula.strip(), formula.strip())


def with_formulas(columns: dict[str, str], formulas: Iterable[str]) -> dict[str, str]:
    """The columns after `update`."""
    made = dict(columns)
    for formula in formulas:
        name, expression = assigned(formula)
        if _NAME.fullmatch(name):
            made[name] = type_of(expression, made)
    return made


def type_of(expression: str, columns: dict[str, str]) -> str:
    """A formula's type where it is plain: a column, a literal, a cast, or arithmetic of numbers; else ""."""
    expression = expression.strip()
    if expression in columns or expression in FORMULA_VARIABLES:
        return columns.get(expression) or FORMULA_VARIABLES.get(expression, "")
    for pattern, name in _LITERALS:
        if pattern.fullmatch(expression):
            return name
    cast = _CAST.match(expression)
    if cast is not None and not re.search(r"[^\w\s.()]", expression[cast.end() :]):
        return _QUALIFIED.get(cast[1], cast[1])
    return _arithmetic_type(expression, columns)


def _arithmetic_type(expression: str, columns: dict[str, str]) -> str:
    if not _ARITHMETIC.fullmatch(expression) or re.search(r"\w\s*\(", expression):
        return ""
    kinds = [columns.get(name) or FORMULA_VARIABLES.get(name, "") for name in re.findall(r"(?<![\w.])[^\W\d]\w*", expression)]
    for number, suffix in _NUMBERS.findall(expression):
        suffixed = {"l": "long", "f": "float", "d": "double"}.get(suffix.lower())
        kinds.append(suffixed or ("double" if "." in number else "int"))
    widths = [_NARROW.get(kind, kind) for kind in kinds]
    if not widths or not all(width in _WIDTHS for width in widths):
        return ""
    return max(widths, key=_WIDTHS.index)


# --- effects: the columns before, the arguments, what is known -> the columns after

_Columns = dict[str, str]
_Given = dict[str, ast.expr]


def _keep(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    return columns


def _add(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    return with_formulas(columns, known.texts(given.get("formulas")))


def _pick(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    if "formulas" not in given:
        return columns
    made: _Columns = {}
    for formula in known.texts(given["formulas"]):
        name, expression = assigned(formula)
        made[name] = type_of(expression, {**columns, **made})
    return made


def _drop(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    dropped = set(known.texts(given.get("cols")))
    return {name: kind for name, kind in columns.items() if name not in dropped}


def _rename(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    new = {old: name for name, old in map(assigned, known.texts(given.get("cols")))}
    return {new.get(name, name): kind for name, kind in columns.items()}


def _join(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    other = known.shape(given.get("table") or given.get("r_table"))
    right = other.columns if other is not None else {}
    joins = known.texts(given.get("joins"))
    if not joins:
        keys = {assigned(text)[1] for text in known.texts(given.get("on"))}
        return {**columns, **{name: kind for name, kind in right.items() if name not in keys and name not in columns}}
    return {**columns, **{name: right.get(old, "") for name, old in map(assigned, joins)}}


def _stamp(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    other = known.shape(given.get("trigger_table"))
    right = other.columns if other is not None else {}
    stamps = [assigned(text) for text in known.texts(given.get("stamp_cols"))] or [(name, name) for name in right]
    return {**columns, **{name: right.get(old, "") for name, old in stamps}}


def _by(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    return {name: columns.get(old, "") for name, old in map(assigned, known.texts(given.get("by")))}


def _retyped(kind: str) -> Callable[[_Columns, _Given, Evaluator], _Columns]:
    def effect(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
        keys = _by(columns, given, known)
        weights = set(known.texts(given.get("wcol")))
        return {**keys, **{name: kind for name in columns if name not in keys and name not in weights}}

    return effect


def _count(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    return {**_by(columns, given, known), **dict.fromkeys(known.texts(given.get("col")), "long")}


def _aggregate(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    return {**_by(columns, given, known), **made_by_parts(columns, given.get("aggs"), known)}


def _range(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    other = known.shape(given.get("table"))
    return {**columns, **made_by_parts(other.columns if other is not None else {}, given.get("aggs"), known)}


def _operate(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    return {**columns, **made_by_parts(columns, given.get("ops"), known)}


def _window(columns: _Columns, given: _Given, known: Evaluator) -> _Columns:
    return {**columns, **dict.fromkeys(known.texts(given.get("bool_col")), "java.lang.Boolean")}


def made_by_parts(columns: _Columns, node: ast.expr | None, known: Evaluator) -> _Columns:
    """The columns that aggregations, or operations of `update_by`, make."""
    made: _Columns = {}
    for part in known.parts(node):
        name = called_name(part)
        operation = AGGREGATIONS.get(name) or UPDATES.get(name)
        if operation is None or not isinstance(part, ast.Call):
            continue
        given = arguments(part, operation)
        texts = known.texts(given.get("cols") or given.get("col") or given.get("formula"))
        for new, old in map(assigned, texts):
            made[new] = _made_type(operation.effect, columns.get(old, ""))
    return made


def _made_type(effect: str, kind: str) -> str:
    return {"keep": kind, "-": ""}.get(effect, effect)


def called_name(node: ast.expr) -> str:
    """The last name of what a call calls."""
    if not isinstance(node, ast.Call):
        return ""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


_EFFECTS: dict[str, Callable[[_Columns, _Given, Evaluator], _Columns]] = {
    "keep": _keep,
    "add": _add,
    "pick": _pick,
    "drop": _drop,
    "rename": _rename,
    "join": _join,
    "stamp": _stamp,
    "range": _range,
    "mixed": _retyped(""),
    "double": _retyped("double"),
    "count": _count,
    "aggregate": _aggregate,
    "partition": _keep,
    "operate": _operate,
    "window": _window,
}
