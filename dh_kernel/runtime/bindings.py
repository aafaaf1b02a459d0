"""The names that a cell's own source binds before the cursor, though it has not run: variables, imports, functions …

Neighbours: `source` (the tokens), `inference` (what they are bound to). Refuses to know the namespace. Each logical line is
parsed alone, so that a mistake elsewhere in the cell does no harm.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from .source import BLOCK_WORDS, CLOSE, END, NAME, OP, OPEN, Spot, parse_statements

_CAN_BIND = {"import", "from", "def", "class", "for", "with", "async", "except", "lambda"}
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


@dataclass(frozen=True)
class _Line:
    """A logical line: its tokens from `first` up to `end`, and its number."""

    number: int
    first: int
    end: int


@dataclass
class _Block:
    """The body of a function or class, or the cell itself: its lines, and the header, whose parameters are its own."""

    indent: int
    header: _Line | None
    lines: list[_Line] = field(default_factory=list)
    is_class: bool = False


class Bindings:
    """The names that can be seen at the cursor. Lines are parsed only for names that are asked for."""

    def __init__(self, spot: Spot) -> None:
        self._spot = spot
        blocks = _blocks(spot)
        # a class's names are not seen in its methods
        seen = [block for block in blocks if not block.is_class or block is blocks[-1]]
        self._lines = [line for block in seen for line in block.lines]
        self._headers = [block.header for block in seen if block.header is not None]
        self._by_name: dict[str, list[Binding]] = {}
        self._parsed: dict[tuple[int, bool], list[Binding]] = {}
        self._mentioned = self._mentions()

    def get(self, name: str) -> list[Binding]:
        """The bindings of a name, in order."""
        kept = self._by_name.get(name)
        if kept is None:
            places = self._mentioned.get(name, ())
            found = [each for line, inside in places for each in self._bound(line, inside) if each.name == name]
            kept = self._by_name[name] = sorted(found, key=lambda binding: binding.line)
        return kept

    def names(self, partial: str) -> list[str]:
        """The names that begin so."""
        return [name for name in self._mentioned if name.startswith(partial) and self.get(name)]

    def _mentions(self) -> dict[str, list[tuple[_Line, bool]]]:
        """Where names occur that may be bound there; True for the parameters of a function that the cursor is in."""
        found: dict[str, list[tuple[_Line, bool]]] = {}
        places = [(line, False) for line in self._lines] + [(line, True) for line in self._headers]
        for line, inside in places:
            tokens, code = self._spot.tokens, self._spot.code
            for kind, start, end in tokens[line.first : line.end]:
                if kind == NAME:
                    entries = found.setdefault(code[start:end], [])
                    if not entries or entries[-1] != (line, inside):
                        entries.append((line, inside))
        return found

    def _bound(self, line: _Line, inside: bool) -> list[Binding]:
        kept = self._parsed.get((line.number, inside))
        if kept is None:
            statement = _parsed(self._spot.text(line.first, line.end))
            if statement is None:
                kept = []
            elif inside:
                kept = _parameters(statement, line.number)
            else:
                kept = _bound_by(statement, line.number)
            self._parsed[line.number, inside] = kept
        return kept


def _blocks(spot: Spot) -> list[_Block]:
    """The cell, and the functions and classes that the cursor is in, the innermost last."""
    blocks = [_Block(-1, None)]
    for number, (indent, first, end) in enumerate(_lines(spot)):
        while indent is not None and len(blocks) > 1 and indent <= blocks[-1].indent:
            blocks.pop()
        if first >= end:
            continue
        line = _Line(number, first, end)
        word = spot.text(first, first + 1)
        if word == "async" and first + 1 < end:
            word = spot.text(first + 1, first + 2)
        if word in ("def", "class") or _may_bind(spot, first, end):
            blocks[-1].lines.append(line)
        if word in ("def", "class"):
            level = indent if indent is not None else blocks[-1].indent
            blocks.append(_Block(level, line if word == "def" else None, is_class=word == "class"))
    return blocks


def _lines(spot: Spot) -> Iterator[tuple[int | None, int, int]]:
    """The logical lines: their indentation, which is None for what follows a `;`, and their tokens.

    The last one is that of the cursor: of its tokens only a finished block header is given.
    """
    ends = [index for index, token in enumerate(spot.tokens) if token[0] == END]
    for first, end in zip([0, *(end + 1 for end in ends)], [*ends, len(spot.tokens)], strict=True):
        is_last = end == len(spot.tokens)
        if first == end:
            if is_last:
                yield _indent_of_cursor(spot), first, end
            continue
        begin = spot.tokens[first][1]
        line_begin = spot.code.rfind("\n", 0, begin) + 1
        indent = begin - line_begin if not spot.code[line_begin:begin].strip() else None
        yield indent, first, _end_of_header(spot, first) if is_last else end


def _indent_of_cursor(spot: Spot) -> int | None:
    line = spot.code[spot.code.rfind("\n") + 1 :]
    return len(line) if not line.strip() and spot.string is None else None


def _end_of_header(spot: Spot, first: int) -> int:
    """Where a block's header ends on the cursor's line, behind its `:`; `first` where it is no such line."""
    if spot.text(first, first + 1) in BLOCK_WORDS:
        depth = 0
        for index in range(first, len(spot.tokens)):
            kind = spot.tokens[index][0]
            depth += (kind == OPEN) - (kind == CLOSE)
            if depth == 0 and spot.is_op(index, ":") and "lambda" not in spot.text(first, index).split():
                return index + 1
    return first


def _may_bind(spot: Spot, first: int, end: int) -> bool:
    """A cheap look before parsing."""
    if spot.text(first, first + 1) in _CAN_BIND or spot.is_op(first, "@"):
        return True
    return any(kind == OP and spot.code[start:stop] in ("=", ":=", ":") for kind, start, stop in spot.tokens[first:end])


def _parsed(text: str) -> ast.stmt | None:
    """A logical line as a statement; the header of a block gets a body."""
    if not text:
        return None
    if text.startswith(("except", "elif", "else", "finally", "case")):
        text = {"elif": "", "else": "", "fina": "", "case": ""}.get(text[:4], "try: pass\n" + text)
    body = parse_statements(text) or parse_statements(f"{text} pass")
    return body[0] if body else None


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


def _parameters(definition: ast.stmt, line: int) -> list[Binding]:
    if not isinstance(definition, (ast.FunctionDef, ast.AsyncFunctionDef)):
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
