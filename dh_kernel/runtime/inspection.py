"""Inspection: what the name at, or the call around, the cursor is. Tables show their schema, columns in text their types.

Neighbours: `source`, `inference`, `columns`, `tablecard`, `signatures`, `magic_completion` and, last, `jedi_names`. It runs
nothing of the user's: the text of a value is shown for Python's own plain types only.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import linecache
import re
import sys
import types
from collections.abc import Iterable
from typing import Any

from . import columns, jedi_names, livetables, namelookup, signatures, tablecard
from .bindings import Bindings
from .inference import Defined, Inference, Known, Made, Result, shape_of
from .magic_completion import Shell
from .source import CLOSE, NAME, Spot, parse_expression, read
from .tableshape import Shape

_MOST_SOURCE = 100_000
_MOST_TEXT = 1_000
_MOST_CALLS = 10
_TEXT_SIGNATURE = re.compile(r"\A[^\n]*\(.*?\)\n--\n\n", re.DOTALL)
_MAGIC_AT = re.compile(r"%%?[^\W\d]\w*")
_SIZED = (str, bytes, bytearray, list, dict, tuple, set, frozenset, range)
Bundle = dict[str, str]


def inspect_at(
    namespace: dict[str, Any], code: str, cursor: int, detail: int, omit_sections: Iterable[str], shell: Any
) -> dict[str, Any]:
    """Jupyter's `inspect_reply` content. Source: Jupyter messaging, "Introspection"."""
    cursor = max(0, min(cursor, len(code)))
    data = _Question(namespace, code, cursor, detail, set(omit_sections), Shell(shell)).answer() or {}
    return {"status": "ok", "found": bool(data), "data": data, "metadata": {}}


def inspect_name(namespace: dict[str, Any], dotted: str, *, detailed: bool) -> str | None:
    """What is known of a dotted name; None if there is no such name."""
    result = Inference(namespace, None).evaluate(parse_expression(dotted))
    data = described(result, dotted, detail=int(detailed), omit=set()) if result is not None else None
    return data["text/plain"] if data else None


class _Question:
    """One inspection."""

    def __init__(self, namespace: dict[str, Any], code: str, cursor: int, detail: int, omit: set[str], shell: Shell) -> None:
        self._namespace, self._code, self._cursor = namespace, code, cursor
        self._detail, self._omit, self._shell = detail, omit, shell

    def answer(self) -> Bundle | None:
        """The data of the reply, None if there is nothing to tell."""
        spot = read(self._code, self._cursor)
        known = Inference(self._namespace, Bindings(spot))
        if spot.string is not None and (found := self._column(spot, known)):
            return found
        return self._magic() or self._in_code(spot, known)

    def _column(self, spot: Spot, known: Inference) -> Bundle | None:
        found = columns.column_at(spot, known, self._code[self._cursor : self._cursor + 200])
        if found is None:
            return None
        name, kind, table = found
        lines = [f"Column:     {name}", f"Type:       {kind or 'not known'}"]
        return {"text/plain": "\n".join([*lines, *([f"Table:      {table}"] if table else [])])}

    def _magic(self) -> Bundle | None:
        for match in _MAGIC_AT.finditer(self._code, self._code.rfind("\n", 0, self._cursor) + 1):
            if match.start() <= self._cursor <= match.end():
                name = match[0].lstrip("%")
                kinds = ("cell", "line") if match[0].startswith("%%") else ("line", "cell")
                functions = (self._shell.table(kind).get(name) for kind in kinds)
                function = next((each for each in functions if each is not None), None)
                return self._of_magic(match[0], function) if function is not None else None
            if match.start() > self._cursor:
                break
        return None

    def _of_magic(self, name: str, function: Any) -> Bundle:
        sections = [("docstring", "Docstring", _documentation(function)), ("file", "File", _file(function))]
        sections.append(("type", "Type", f"Magic function ({name})"))
        if self._detail > 0:
            sections.insert(1, ("source", "Source", _source(function)))
        return {"text/plain": _joined(sections, self._omit)}

    def _in_code(self, spot: Spot, known: Inference) -> Bundle | None:
        candidates = self._candidates(spot)
        for at, first, end in candidates:
            text = at.text(first, end)
            result = known.evaluate(at.expression(first, end))
            found = described(_named(result, text), text, detail=self._detail, omit=self._omit)
            if found:
                return found
        for at, _, end in candidates[:1]:
            told = jedi_names.describe(self._namespace, at.code[: at.tokens[end - 1][2]])
            return {"text/plain": f"Docstring:\n{told}"} if told else None
        return None

    def _candidates(self, spot: Spot) -> list[tuple[Spot, int, int]]:
        """What the cursor may mean, as IPython has it: the word it is in, the call it is inside of, the word behind it."""
        found = []
        end = self._cursor
        while end < len(self._code) and (self._code[end].isalnum() or self._code[end] == "_"):
            end += 1
        rest = self._code[end:].lstrip(" \t")
        inside = end > self._cursor or rest.startswith("(")
        whole = read(self._code, end) if spot.string is None and not spot.comment else spot
        word = _word(whole)
        if inside and word is not None:
            found.append((whole, *word))
        found += [(spot, *call) for call in _calls(spot)]
        if not inside and word is not None:
            found.append((whole, *word))
        return found


def _word(spot: Spot) -> tuple[int, int] | None:
    """The name that ends at the cursor, with what stands before its dots."""
    if spot.string is not None or not spot.partial():
        return None
    end = len(spot.tokens)
    first = spot.primary(end)
    return (first, end) if first < end else None


def _calls(spot: Spot) -> list[tuple[int, int]]:
    """What is called around the cursor, the innermost first; and what was, if the cursor is right behind a call."""
    found = []
    for bracket in spot.brackets[: -_MOST_CALLS - 1 : -1]:
        first = spot.primary(bracket.token)
        if bracket.kind == "(" and first < bracket.token:
            found.append((first, bracket.token))
    tokens = spot.tokens
    if tokens and tokens[-1][0] == CLOSE and spot.string is None and not found:
        opened = spot.partners.get(len(tokens) - 1, 0)
        first = spot.primary(opened)
        if first < opened and tokens[opened - 1][0] in (NAME, CLOSE) and spot.code[tokens[-1][1]] == ")":
            found.append((first, opened))
    return found


def _named(result: Result, text: str) -> Result:
    return Shape(result.columns, result.kind, result.name or text) if isinstance(result, Shape) else result


def described(result: Result, name: str, *, detail: int, omit: set[str]) -> Bundle | None:
    """The data for what was found."""
    shape = shape_of(result)
    if shape is not None:
        return _of_table(result, shape, name)
    if isinstance(result, Known):
        return {"text/plain": _joined(_sections(result.value, name, detail), omit)}
    if isinstance(result, Made):
        sections = [
            ("type", "Type", signatures.named_type(result.cls)),
            ("docstring", "Docstring", _documentation(result.cls)),
        ]
        return {"text/plain": _joined(sections, omit)}
    return _of_definition(result, omit) if isinstance(result, Defined) else None


def _of_table(result: Result, shape: Shape, name: str) -> Bundle:
    facts = None
    if isinstance(result, Known):
        with contextlib.suppress(Exception):  # closed, or its engine is
            facts = livetables.facts_of(result.value)
    shown = shape.name or (name if name.isidentifier() else None)
    return {"text/plain": tablecard.text(shape, facts, shown), "text/html": tablecard.markup(shape, facts, shown)}


def _of_definition(found: Defined, omit: set[str]) -> Bundle | None:
    """A function or class of the cell's own source, which has not run."""
    node = found.node
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        returned = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
        sections = [
            ("signature", "Signature", f"{node.name}({ast.unparse(node.args)}){returned}"),
            ("type", "Type", "function"),
        ]
        return {"text/plain": _joined(sections, omit)}
    if isinstance(node, ast.ClassDef):
        return {"text/plain": _joined([("type", "Type", "type"), ("string_form", "String form", f"class {node.name}")], omit)}
    return None


# --- sections, by IPython's names

_Section = tuple[str, str, str | None]


def _sections(value: Any, name: str, detail: int) -> list[_Section]:
    signature = signatures.signature_text(value)
    is_code = namelookup.is_code(value)
    is_class = namelookup.is_a(value, type)
    found: list[_Section] = []
    if signature:
        label = "Init signature" if is_class else "Signature" if is_code else "Call signature"
        found.append((label.lower().replace(" ", "_"), label, f"{name}{signature}"))
    found.append(("type", "Type", _full_name(type(value))))
    found.append(("base_class", "Bases", _bases(value) if is_class else None))
    if not is_code:
        text = signatures.plain_text(value)
        found.append(("string_form", "String form", text[:_MOST_TEXT] if text is not None else None))
        found.append(("length", "Length", _length(value)))
        found.append(("shape", "Shape", _array_shape(value)))
    source = _source(value if is_code else type(value)) if detail > 0 else None
    found.append(("docstring", "Docstring", _documentation(value if is_code else type(value))))
    found.append(("init_docstring", "Init docstring", _init_documentation(value) if is_class else None))
    found.append(("source", "Source", source))
    found.append(("file", "File", _file(value if is_code else type(value))))
    return found


def _joined(sections: Iterable[_Section], omit: set[str]) -> str:
    lines = []
    for key, label, value in sections:
        if not value or key in omit:
            continue
        if "\n" in value or key in ("docstring", "source", "init_docstring"):
            lines.append(f"{label}:\n{value}")
        else:
            lines.append(f"{label + ':':<11}{'' if len(label) < 10 else ' '}{value}")
    return "\n".join(lines)


def _full_name(cls: type) -> str:
    name = signatures.named_type(cls)
    return name if "." in name else f"builtins.{name}"


def _bases(cls: type) -> str | None:
    names = [signatures.named_type(base) for base in namelookup.mro(cls)[1:] if base is not object]
    return ", ".join(names[:10]) or None


def _length(value: Any) -> str | None:
    return f"{len(value):,}" if namelookup.one_of(type(value), _SIZED) else None


def _array_shape(value: Any) -> str | None:
    """Of numpy's arrays and pandas' frames, of these very classes."""
    for module, name in (("numpy", "ndarray"), ("pandas", "DataFrame"), ("pandas", "Series")):
        if type(value) is getattr(sys.modules.get(module), name, None):
            kind = (
                f" of {value.dtype}"
                if name != "DataFrame"
                else f": {', '.join(map(str, namelookup.frame_columns(value, 50)))}"
            )
            return f"{value.shape}{kind}"
    return None


def _documentation(value: Any) -> str | None:
    found: Any = None
    if namelookup.is_a(value, type):
        documented = (namelookup.class_dict(base).get("__doc__") for base in namelookup.mro(value) if base is not object)
        found = next((text for text in documented if type(text) is str), None)
    elif namelookup.is_a(value, types.ModuleType):
        found = namelookup.instance_dict(value).get("__doc__")
    elif namelookup.is_routine(value):
        found = value.__doc__
    return inspect.cleandoc(_TEXT_SIGNATURE.sub("", found, count=1)) if type(found) is str else None


def _init_documentation(cls: type) -> str | None:
    found = namelookup.in_class(cls, "__init__")
    return _documentation(found) if type(found) is types.FunctionType else None


def _file(value: Any) -> str | None:
    if namelookup.is_a(value, types.ModuleType):
        found = namelookup.instance_dict(value).get("__file__")
    elif namelookup.is_a(value, type):
        module = sys.modules.get(namelookup.module_name(value))
        found = namelookup.instance_dict(module).get("__file__") if module is not None else None
    else:
        code = _code_of(value)
        found = code.co_filename if code is not None else None
    return found if type(found) is str else None


def _code_of(value: Any) -> types.CodeType | None:
    function = value.__func__ if type(value) is types.MethodType else value
    for _ in range(20):
        inner = namelookup.instance_dict(function).get("__wrapped__")
        if type(inner) is not types.FunctionType:
            break
        function = inner
    return function.__code__ if type(function) is types.FunctionType else None


def _source(value: Any) -> str | None:
    """The source of a function, a class or a module, if it is at hand."""
    code, file = _code_of(value), _file(value)
    if namelookup.is_a(value, types.ModuleType):
        return "".join(linecache.getlines(file))[:_MOST_SOURCE] or None if file is not None else None
    is_class = namelookup.is_a(value, type) and namelookup.has_plain_metaclass(value) and file is not None
    if code is None and not is_class:
        return None
    with contextlib.suppress(Exception):
        return inspect.getsource(code if code is not None else value)[:_MOST_SOURCE]
    return None
