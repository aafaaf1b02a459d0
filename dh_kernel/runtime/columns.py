"""Columns in text: which tables the string at the cursor talks of, and in what way.

Neighbours: `source` (the string and the calls around it), `inference` (the tables), `operations` (the roles of arguments);
`completion` and `inspection` (ask it). Refuses to know Jupyter.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, replace
from typing import Any

from . import namelookup
from .inference import Inference, Known
from .matches import Found, Match
from .operations import (
    FORMULA_CONSTANTS,
    FORMULA_FUNCTIONS,
    FORMULA_VARIABLES,
    FUNCTIONS,
    PARTITIONED_OPERATIONS,
    PARTS,
    TABLE_OPERATIONS,
    Operation,
    Role,
)
from .source import Spot
from .tableshape import PARTITIONED, Shape, arguments, with_formulas
from .tablesources import is_deephavens

_NAME_AT_END = re.compile(r"[^\W\d]\w*$")
_COMPARISON = re.compile(r"(?<![=!<>])(?:=|<=|>=|<|>)(?!=)\s*[^<>=]*$")
_ASSIGNMENT = re.compile(r"^\s*[^\W\d]\w*\s*=(?!=)")
_PACKAGES = re.compile(r"(?:\w+\.)+(?=\w)")
_TABLE_PARAMETERS = ("t", "table", "source", "df")
_MOST_VARIABLES = 1_000
_PLAIN_MODULES = ("builtins", "numpy", "datetime", "decimal")


@dataclass(frozen=True)
class Site:
    """What the string at the cursor is an argument of.

    `own` is the table whose method it is, `other` the second one of a join. `earlier` are the formulas before this one in the
    same list, `text` is what stands in the string before the cursor, up to `start` in the code.
    """

    own: Shape
    other: Shape | None
    role: Role
    earlier: tuple[str, ...]
    text: str
    text_start: int
    adds: bool


def short_type(name: str) -> str:
    """A type's name without its packages, as tables show it: `Instant`."""
    return _PACKAGES.sub("", name)


def site_at(spot: Spot, known: Inference) -> Site | None:
    """The tables that the open string at the cursor talks of; None if it is not about columns."""
    if spot.string is None:
        return None
    inner_role: Role | None = None
    for bracket in reversed(spot.brackets):
        if bracket.kind == "f":
            return None
        if bracket.kind != "(":
            continue
        call = spot.enclosing(bracket)
        if not isinstance(call, ast.Call):
            continue
        found = _site_in(spot, known, call, inner_role)
        if found is not None:
            return found
        role = _role_in_part(call, known, inner_role)
        if role is None:
            return None
        inner_role = role
    return None


def _site_in(spot: Spot, known: Inference, call: ast.Call, inner_role: Role | None) -> Site | None:
    """The site if this call is of a table, or of a function that takes one."""
    receiver, operation = _operation_of(call, known)
    if receiver is None or operation is None:
        return None
    name, node = _last_argument(call, operation)
    role = operation.role(name)
    if role is None or (role is Role.OTHER and inner_role is None):
        return None
    if inner_role is not None and role is not Role.RIGHT:
        role = inner_role
    other = _other(call, operation, known)
    if role is not None and operation.effect == "range" and name == "aggs" and other is not None:
        receiver = other  # what is aggregated is the other table's
    text, start = _text_before(spot)
    earlier = tuple(_earlier(known, node)) if role is Role.FORMULA else ()
    return Site(receiver, other, role, earlier, text, start, operation.effect in ("add", "pick"))


def _operation_of(call: ast.Call, known: Inference) -> tuple[Shape | None, Operation | None]:
    if isinstance(call.func, ast.Attribute):
        receiver = known.shape(call.func.value)
        if receiver is not None:
            operations = PARTITIONED_OPERATIONS if receiver.kind == PARTITIONED else TABLE_OPERATIONS
            return _with_name(receiver, call.func.value), operations.get(call.func.attr)
    function = known.evaluate(call.func)
    if not isinstance(function, Known) or not is_deephavens(_plain_function(function.value)):
        return None, None
    return _function_of_tables(call, _plain_function(function.value), known)


def _with_name(shape: Shape, node: ast.expr | None) -> Shape:
    """The table with the expression that its chain of operations starts from as its name."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    plain = isinstance(node, (ast.Name, ast.Attribute, ast.Subscript))
    return replace(shape, name=ast.unparse(node)) if plain and node is not None else shape


def _plain_function(value: Any) -> Any:
    return namelookup.attribute(value, "__func__") if namelookup.kind_of(value) == "function" and _is_method(value) else value


def _is_method(value: Any) -> bool:
    return namelookup.is_class(type(value), "builtins", "method")


def _function_of_tables(call: ast.Call, function: Any, known: Inference) -> tuple[Shape | None, Operation | None]:
    """A function of Deephaven's with a table among its arguments: its texts are about that table's columns."""
    given = [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg in _TABLE_PARAMETERS or not call.args)]
    found = next(((shape, node) for node in given if (shape := known.shape(node)) is not None), None)
    if found is None:
        return None, None
    shape = _with_name(*found)
    name = namelookup.class_name(function) if namelookup.is_a(function, type) else function.__name__
    if name in FUNCTIONS:
        return shape, FUNCTIONS[name]
    names = [keyword.arg for keyword in call.keywords if keyword.arg is not None]
    return shape, Operation("none", tuple((each, Role.NAMES) for each in ("", *names)))


def _last_argument(call: ast.Call, operation: Operation) -> tuple[str, ast.expr | None]:
    """The argument that the cursor is in: the code ends there. With its parameter's name, "" where that has none."""
    keyword = call.keywords[-1] if call.keywords else None
    position = call.args[-1] if call.args else None
    if keyword is not None and (position is None or _place(keyword.value) > _place(position)):
        return keyword.arg or "", keyword.value
    names = [name for name, _ in operation.parameters]
    index = len(call.args) - 1
    return (names[index] if 0 <= index < len(names) else names[-1] if names else ""), position


def _place(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _other(call: ast.Call, operation: Operation, known: Inference) -> Shape | None:
    given = arguments(call, operation)
    for name, role in operation.parameters:
        if role is Role.OTHER and name in given:
            shape = known.shape(given[name])
            return _with_name(shape, given[name]) if shape is not None else None
    return None


def _role_in_part(call: ast.Call, known: Inference, inner_role: Role | None) -> Role | None:
    """The role of the text in an aggregation, a filter and the like, which stand inside a table's method."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name in TABLE_OPERATIONS and name not in PARTS:
        return None
    operation = PARTS.get(name)
    if operation is not None:
        return inner_role or operation.role(_last_argument(call, operation)[0])
    function = known.evaluate(call.func)
    plain = isinstance(function, Known) and is_deephavens(_plain_function(function.value))
    return (inner_role or Role.NAMES) if plain or name in ("list", "tuple", "sorted") else None


def _text_before(spot: Spot) -> tuple[str, int]:
    """The string's text up to the cursor, an f-string's fields included, and where it begins."""
    assert spot.string is not None
    return spot.code[spot.string.content :], spot.string.content


def _earlier(known: Inference, node: ast.expr | None) -> list[str]:
    parts = known.parts(node)
    return [text for part in parts[:-1] for text in known.texts(part)]


# --- completion


def complete(spot: Spot, known: Inference, namespace: dict[str, Any]) -> Found | None:
    """The columns, and in formulas what else they can say, that begin as the string ends; None if it is about no table."""
    site = site_at(spot, known)
    if site is None:
        return None
    text = site.text
    found = _NAME_AT_END.search(text)
    partial = found[0] if found else ""
    before = text[: len(text) - len(partial)]
    start = site.text_start + len(before)
    if _in_literal(before) or before.rstrip().endswith(".") or re.search(r"\d$", before):
        return Found(start, [])
    matches = [Match(name, "column", short_type(kind)) for name, kind in _columns_at(site, before).items()]
    if _is_expression(site, before):
        matches += _formula_words(namespace, known, partial)
    unique = {match.text: match for match in reversed(matches)}
    return Found(start, [match for match in reversed(list(unique.values())) if match.text.startswith(partial)])


def _columns_at(site: Site, before: str) -> dict[str, str]:
    """The columns that can stand where the text ends."""
    own = with_formulas(site.own.columns, site.earlier) if site.adds else site.own.columns
    right = site.other.columns if site.other is not None else {}
    if site.role is Role.RIGHT:
        return right
    if site.role is Role.RANGE:
        return {**own, **right}
    if site.role is Role.MATCH and _COMPARISON.search(before.rpartition(",")[2]):
        return right
    return own


def _is_expression(site: Site, before: str) -> bool:
    """Whether functions and variables can stand there: in a filter, and behind a formula's `=`."""
    return site.role is Role.FILTER or (site.role is Role.FORMULA and _ASSIGNMENT.match(before) is not None)


def _in_literal(text: str) -> bool:
    return text.count("`") % 2 == 1


def _formula_words(namespace: dict[str, Any], known: Inference, partial: str) -> list[Match]:
    words = [Match(name, "statement", kind) for name, kind in FORMULA_VARIABLES.items()]
    words += _variables(namespace, partial)
    bound = known.bound.names(partial) if known.bound is not None else []
    words += [Match(name, "instance") for name in bound if not name.startswith("_") and name not in namespace]
    words += [Match(name, "function") for name in FORMULA_FUNCTIONS]
    return words + [Match(name, "keyword") for name in FORMULA_CONSTANTS]


def _variables(namespace: dict[str, Any], partial: str) -> list[Match]:
    """The variables that a formula can use: plain values, and functions but Deephaven's own."""
    found = []
    for name in namelookup.names_in(namespace):
        if name.startswith("_") or not name.startswith(partial):
            continue
        value = namelookup.global_of(namespace, name)
        if not _is_of_use(value):
            continue
        is_function = namelookup.is_routine(value)
        kind = "" if is_function else namelookup.class_name(type(value))
        found.append(Match(name, "function" if is_function else "instance", kind))
        if len(found) >= _MOST_VARIABLES:
            break
    return found


def _is_of_use(value: Any) -> bool:
    if namelookup.is_routine(value):
        return not is_deephavens(value)
    module = namelookup.module_name(type(value))
    return module.partition(".")[0] in _PLAIN_MODULES and namelookup.kind_of(value) == "instance" and value is not None


# --- inspection


def column_at(spot: Spot, known: Inference, rest: str) -> tuple[str, str, str | None] | None:
    """The column whose name the cursor is in or behind: name, type, and the table's name. `rest` follows the cursor."""
    site = site_at(spot, known)
    if site is None:
        return None
    head = _NAME_AT_END.search(site.text)
    tail = re.match(r"\w*", rest)
    name = (head[0] if head else "") + (tail[0] if tail else "")
    before = site.text[: head.start()] if head else site.text
    if _in_literal(before):
        return None
    places = [(site.own, with_formulas(site.own.columns, site.earlier) if site.adds else site.own.columns)]
    if site.other is not None:
        places.append((site.other, site.other.columns))
        if site.role is Role.RIGHT or name in _columns_at(site, before):
            places.sort(key=lambda place: place[1] != _columns_at(site, before))
    for shape, columns in places:
        if name in columns:
            return name, columns[name], shape.name
    return None
