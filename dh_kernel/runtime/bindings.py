"""The names that a cell's own source binds before the cursor, though it has not run: variables, imports, functions …

Neighbours: `source` (the tokens), `inference` (what they are bound to). Refuses to know the namespace. Each logical line is
parsed alone, so that a mistake elsewhere in the cell does no harm.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from .source import BLOCK_WORDS, CLOSE, END, NAME, OPEN, Spot

_CAN_BIND = {"import", "from", "def", "class", "for", "with", "async", "except", "lambda"}
_MOST_LINES = 2_000
MODULE, ATTRIBUTE, VALUE, CONTEXT, ELEMENT, ANNOTATED, FUNCTION, CLASS, UNKNOWN = range(9)


@dataclass(frozen=True)
class Binding:
    """A name, and what it is bound to: `how` says what `node` and `text` mean. `line` orders the bindings of a cell.

    MODULE: the module `text`. ATTRIBUTE: `text` is `module:name`. VALUE, CONTEXT, ELEMENT: the expression `node`, what
    entering it gives, or what it is made of. ANNOTATED: something of the type `node`. FUNCTION, CLASS: the definition `node`.
    """

    name: str
    line: int
    how: int
    node: ast.AST | None = None
    text: str = ""


@dataclass
class _Block:
    """A function or class whose body lies between the beginning and some line."""

    indent: int
    definition: ast.AST | None
    bindings: list[Binding] = field(default_factory=list)


def bindings_before(spot: Spot) -> dict[str, list[Binding]]:
    """The names that can be seen at the cursor, each with its bindings in order."""
    blocks = [_Block(-1, None)]
    for number, (indent, text) in enumerate(_lines(spot)):
        if indent is not None:
            while len(blocks) > 1 and indent <= blocks[-1].indent:
                blocks.pop()
        statement = _parsed(text)
        if statement is None:
            continue
        blocks[-1].bindings += _bound_by(statement, number)
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            blocks.append(_Block(indent if indent is not None else blocks[-1].indent, statement))
            blocks[-1].bindings += _parameters(statement, number)
    found: dict[str, list[Binding]] = {}
    for block in blocks:
        if isinstance(block.definition, ast.ClassDef) and block is not blocks[-1]:
            continue  # a class's names are not seen in its methods
        for binding in block.bindings:
            found.setdefault(binding.name, []).append(binding)
    return found


def enclosing_class(spot: Spot) -> str | None:
    """The name of the class in whose method the cursor is."""
    blocks: list[_Block] = []
    for indent, text in _lines(spot):
        while blocks and indent is not None and indent <= blocks[-1].indent:
            blocks.pop()
        statement = _parsed(text) if text.lstrip().startswith(("class", "def", "async")) else None
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and indent is not None:
            blocks.append(_Block(indent, statement))
    definitions = [block.definition for block in blocks]
    if len(definitions) >= 2 and isinstance(definitions[-2], ast.ClassDef):
        return definitions[-2].name
    return None


def _lines(spot: Spot) -> Iterator[tuple[int | None, str]]:
    """The logical lines with their indentation, which is None for what follows a `;` or a block's `:` on its line.

    The last one is that of the cursor: of its text only a finished block header is given.
    """
    ends = [index for index, token in enumerate(spot.tokens) if token[0] == END]
    firsts = [0, *(end + 1 for end in ends)][-_MOST_LINES:]
    for first in firsts:
        if first == len(spot.tokens):
            yield _indent_of_cursor(spot), ""
            continue
        end = _next_end(spot, first)
        if first >= end:
            continue
        begin = spot.tokens[first][1]
        line_begin = spot.code.rfind("\n", 0, begin) + 1
        indent = begin - line_begin if not spot.code[line_begin:begin].strip() else None
        if end < len(spot.tokens):
            if _may_bind(spot, first, end):
                yield indent, spot.text(first, end)
            elif indent is not None:
                yield indent, ""
        else:
            yield from _last_line(spot, first, indent)


def _indent_of_cursor(spot: Spot) -> int | None:
    line = spot.code[spot.code.rfind("\n") + 1 :]
    return len(line) if not line.strip() and spot.string is None else None


def _next_end(spot: Spot, first: int) -> int:
    """The index of the token that ends the logical line."""
    index = first
    while index < len(spot.tokens) and spot.tokens[index][0] != END:
        index += 1
    return index


def _last_line(spot: Spot, first: int, indent: int | None) -> Iterator[tuple[int | None, str]]:
    if spot.text(first, first + 1) in BLOCK_WORDS:
        depth = 0
        for index in range(first, len(spot.tokens)):
            kind = spot.tokens[index][0]
            depth += (kind == OPEN) - (kind == CLOSE)
            if depth == 0 and spot.is_op(index, ":") and "lambda" not in spot.text(first, index).split():
                yield indent, spot.text(first, index + 1)
                return
    if indent is not None:
        yield indent, ""


def _may_bind(spot: Spot, first: int, end: int) -> bool:
    """A cheap look before parsing."""
    if spot.text(first, first + 1) in _CAN_BIND or spot.is_op(first, "@"):
        return True
    return any(spot.is_op(index, "=") or spot.is_op(index, ":=") or spot.is_op(index, ":") for index in range(first, end))


def _parsed(text: str) -> ast.stmt | None:
    """A logical line as a statement; the header of a block gets a body."""
    if not text:
        return None
    if text.startswith(("except", "elif", "else", "finally", "case")):
        text = {"elif": "", "else": "", "fina": "", "case": ""}.get(text[:4], "try: pass\n" + text)
    for candidate in (text, f"{text} pass"):
        try:
            body = ast.parse(candidate).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return body[0] if body else None
    return None


def _bound_by(statement: ast.stmt, line: int) -> list[Binding]:
    found: list[Binding] = []
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [Binding(statement.name, line, FUNCTION, statement)]
    if isinstance(statement, ast.ClassDef):
        return [Binding(statement.name, line, CLASS, statement)]
    for node in ast.walk(statement):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                found += _targets(target, node.value, line)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            how = ANNOTATED if node.value is None else VALUE
            found.append(Binding(node.target.id, line, how, node.value or node.annotation))
        elif isinstance(node, ast.NamedExpr):
            found.append(Binding(node.target.id, line, VALUE, node.value))
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            found += _imported(node, line)
        elif isinstance(node, (ast.For, ast.AsyncFor)):
            found += _elements(node, line)
        elif isinstance(node, (ast.With, ast.AsyncWith)):
            for item in node.items:
                if isinstance(item.optional_vars, ast.Name):
                    found.append(Binding(item.optional_vars.id, line, CONTEXT, item.context_expr))
        elif isinstance(node, ast.ExceptHandler) and node.name:
            how = UNKNOWN if node.type is None or isinstance(node.type, ast.Tuple) else ANNOTATED
            found.append(Binding(node.name, line, how, node.type))
    return found


def _targets(target: ast.expr, value: ast.expr | None, line: int) -> list[Binding]:
    if isinstance(target, ast.Name):
        return [Binding(target.id, line, VALUE if value is not None else UNKNOWN, value)]
    if isinstance(target, ast.Starred):
        return _targets(target.value, None, line)
    if not isinstance(target, (ast.Tuple, ast.List)):
        return []
    values: list[ast.expr | None] = [None] * len(target.elts)
    if isinstance(value, (ast.Tuple, ast.List)) and len(value.elts) == len(target.elts):
        values = list(value.elts)
    return [found for each, its in zip(target.elts, values, strict=True) for found in _targets(each, its, line)]


def _elements(node: ast.For | ast.AsyncFor, line: int) -> list[Binding]:
    if isinstance(node.target, ast.Name) and isinstance(node, ast.For):
        return [Binding(node.target.id, line, ELEMENT, node.iter)]
    return _targets(node.target, None, line)


def _imported(node: ast.Import | ast.ImportFrom, line: int) -> list[Binding]:
    if isinstance(node, ast.Import):
        named = [(alias.asname, alias.name) if alias.asname else (_top(alias), _top(alias)) for alias in node.names]
        return [Binding(name, line, MODULE, text=module) for name, module in named]
    return [
        Binding(alias.asname or alias.name, line, ATTRIBUTE, text=f"{node.module or ''}:{alias.name}")
        for alias in node.names
        if alias.name != "*"
    ]


def _top(alias: ast.alias) -> str:
    return alias.name.partition(".")[0]


def _parameters(definition: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, line: int) -> list[Binding]:
    if isinstance(definition, ast.ClassDef):
        return []
    given = definition.args
    positional = [*given.posonlyargs, *given.args]
    with_default = [each.arg for each in positional[len(positional) - len(given.defaults) :]]
    defaults = dict(zip(with_default, given.defaults, strict=True))
    defaults.update({each.arg: value for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if value})
    found = []
    for each in (*positional, *given.kwonlyargs):
        if each.annotation is not None:
            found.append(Binding(each.arg, line, ANNOTATED, each.annotation))
        else:
            found.append(Binding(each.arg, line, VALUE if each.arg in defaults else UNKNOWN, defaults.get(each.arg)))
    empty: tuple[ast.expr, ast.expr] = (ast.Tuple([], ast.Load()), ast.Dict([], []))
    for variadic, node in zip((given.vararg, given.kwarg), empty, strict=True):
        if variadic is not None:
            found.append(Binding(variadic.arg, line, VALUE, node))
    return found


def names_in_expression(spot: Spot) -> list[str]:
    """Names bound in the cursor's own line, before the cursor: parameters of a lambda, and of a comprehension."""
    found: list[str] = []
    taking = False
    for index in range(spot.statement(), len(spot.tokens) - bool(spot.partial())):
        text = spot.text(index, index + 1)
        if text in ("lambda", "for"):
            taking = True
        elif text in (":", "in"):
            taking = False
        elif taking and spot.tokens[index][0] == NAME and not spot.is_op(index - 1, "="):
            found.append(text)
    return found
