"""What an expression is, told without running it: a live object, some instance of a class, or a table with known columns.

Neighbours: `bindings` (what the cell's own source says), `namelookup` (live objects), `tableshape` and `livetables`. Refuses
to call anything but fields of Python's own types. What it cannot tell is None; `jedi_names` may know more.
"""

from __future__ import annotations

import ast
import builtins
import io
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from . import bindings, livetables, namelookup, tableshape
from .bindings import Binding, Bindings
from .namelookup import MISSING, Computed
from .operations import PARTITIONED_OPERATIONS
from .source import parse_expression
from .tableshape import PARTITIONED, PROXY, TABLE, Shape
from .tablesources import source_shape

_DEEPEST = 60
_MOST_STEPS = 3_000
_RESULTS: dict[str, type] = {
    "open": io.TextIOWrapper,
    **dict.fromkeys(("len", "id", "hash", "ord"), int),
    **dict.fromkeys(("repr", "input", "format", "chr"), str),
    **dict.fromkeys(("sorted", "dir"), list),
    **dict.fromkeys(("vars", "globals", "locals"), dict),
}
_ARRAYS = ("array", "asarray", "zeros", "ones", "empty", "full", "arange", "linspace", "eye", "concatenate")
_TEXT_METHODS: dict[str, type] = {
    **dict.fromkeys(("split", "rsplit", "splitlines"), list),
    **dict.fromkeys(("partition", "rpartition"), tuple),
    **dict.fromkeys(("find", "rfind", "index", "rindex", "count", "__len__"), int),
    **dict.fromkeys(("startswith", "endswith", "isdigit", "isalpha", "isidentifier"), bool),
}
_DISPLAYS: dict[type, type] = {
    ast.List: list,
    ast.ListComp: list,
    ast.Set: set,
    ast.SetComp: set,
    ast.Tuple: tuple,
    ast.Dict: dict,
    ast.DictComp: dict,
    ast.JoinedStr: str,
    ast.Compare: bool,
    ast.GeneratorExp: types.GeneratorType,
    ast.Lambda: types.FunctionType,
}
N = TypeVar("N")


@dataclass(frozen=True)
class Known:
    """A live object."""

    value: Any


@dataclass(frozen=True)
class Made:
    """Some instance of a class, which is not there yet; `node` where the source displays it, with what was known there."""

    cls: type
    node: ast.expr | None = None
    line: int = sys.maxsize


@dataclass(frozen=True)
class Defined:
    """A function or class that the cell's own source defines."""

    node: ast.AST
    line: int


Result = Known | Made | Defined | Shape | None


class Inference:
    """Evaluates expressions of one cell, over a namespace and what the cell's source binds before the cursor."""

    def __init__(self, namespace: dict[str, Any], bound: Bindings | None) -> None:
        self._namespace, self.bound = namespace, bound
        self._line = sys.maxsize
        self._depth = self._steps = 0

    # --- what others ask

    def evaluate(self, node: ast.expr | None) -> Result:
        """What an expression is, None where nobody knows."""
        self._steps += 1
        if node is None or self._depth >= _DEEPEST or self._steps > _MOST_STEPS:
            return None
        handler = _HANDLERS.get(type(node))
        self._depth += 1
        try:
            if handler is not None:
                return handler(self, node)
            display = _DISPLAYS.get(type(node))
            return Made(display, node, self._line) if display is not None else None
        finally:
            self._depth -= 1

    def shape(self, node: ast.expr | None) -> Shape | None:
        """The table that an expression is, None if it is none."""
        return shape_of(self.evaluate(node))

    def texts(self, node: ast.expr | None) -> list[str]:
        """The texts of a text or of a list of them, as far as they are known; an f-string's fields are `_`."""
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "_" for part in node.values)
            return ["".join(str(part) for part in parts)]
        found: list[str] = []
        for part in self.parts(node):
            if part is not node and not isinstance(part, ast.Starred):
                found += self.texts(part)
            else:
                found += _texts_in(self.evaluate(part.value if isinstance(part, ast.Starred) else part))
        return found

    def parts(self, node: ast.expr | None) -> list[ast.expr]:
        """The elements of a list that the source displays, also by way of a name; else the expression alone."""
        if isinstance(node, (ast.List, ast.Tuple, ast.Set)):
            return list(node.elts)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return [*self.parts(node.left), *self.parts(node.right)]
        made = self.evaluate(node) if isinstance(node, ast.Name) else None
        if isinstance(made, Made) and isinstance(made.node, (ast.List, ast.Tuple)):
            return list(made.node.elts)
        return [node] if node is not None else []

    def keys(self, result: Result) -> list[Any]:
        """The keys of a dictionary, or the columns of a frame, that are plain values."""
        if isinstance(result, Made) and isinstance(result.node, ast.Dict):
            return [key.value for key in result.node.keys if isinstance(key, ast.Constant)]
        if isinstance(result, Known) and namelookup.is_a(result.value, dict):
            return namelookup.keys_of(result.value)
        return namelookup.frame_columns(result.value) if isinstance(result, Known) else []

    # --- expressions

    def _name(self, node: ast.Name) -> Result:
        return self.named(node.id)

    def named(self, name: str) -> Result:
        """What a name is: what the cell's source binds it to, if that can be told, else the namespace's."""
        bound = self.bound.get(name) if self.bound is not None else ()
        last = next((each for each in reversed(bound) if each.line < self._line), None)
        told = self._at(last.line, lambda: self._bound_to(last)) if last is not None else None
        if isinstance(told, Shape) and told.name is None:
            told = Shape(told.columns, told.kind, name)
        if told is not None and not _is_bare_table(told):
            return told
        live = namelookup.global_of(self._namespace, name)
        if live is MISSING:
            live = vars(builtins).get(name, MISSING) if last is None else MISSING
        return Known(live) if live is not MISSING and (last is None or not isinstance(told, Defined)) else told

    def _at(self, line: int, ask: Callable[[], N]) -> N:
        """Ask as the source was understood at an earlier line."""
        before, self._line = self._line, line
        try:
            return ask()
        finally:
            self._line = before

    def _bound_to(self, binding: Binding) -> Result:
        node = binding.node
        if binding.how == bindings.MODULE:
            return self._module(binding.text)
        if binding.how == bindings.ATTRIBUTE:
            return self._imported(binding.text)
        if binding.how in (bindings.FUNCTION, bindings.CLASS) and node is not None:
            return Defined(node, binding.line)
        if not isinstance(node, ast.expr):
            return None
        if binding.how == bindings.ANNOTATED:
            return self._instance_of(node)
        if binding.how == bindings.ELEMENT:
            return self._element(node)
        found = self.evaluate(node)
        return self._entered(found) if binding.how == bindings.CONTEXT else found

    def _module(self, name: str) -> Result:
        module = sys.modules.get(name)
        return Known(module) if module is not None else None

    def _imported(self, text: str) -> Result:
        module_name, _, name = text.partition(":")
        module = sys.modules.get(module_name)
        found = namelookup.attribute(module, name) if module is not None else MISSING
        if found is MISSING:
            return self._module(f"{module_name}.{name}")
        return Known(found) if type(found) is not Computed else None

    def _element(self, node: ast.expr) -> Result:
        """What a loop over an expression sees first."""
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "values"
            and not node.args
        ):
            owner = self.evaluate(node.func.value)
            if isinstance(owner, Made) and isinstance(owner.node, ast.Dict):
                return self.evaluate(next(iter(owner.node.values), None))
            if isinstance(owner, Known) and namelookup.is_a(owner.value, dict):
                first = next(iter(namelookup.keys_of(owner.value)), MISSING)
                return _item(owner.value, first)
        parts = self.parts(node)
        if parts and parts[0] is not node:
            return self.evaluate(parts[0])
        found = self.evaluate(node)
        if isinstance(found, Made) and found.cls is range:
            return Made(int)
        return _item(found.value, 0) if isinstance(found, Known) and not namelookup.is_a(found.value, dict) else None

    def _entered(self, context: Result) -> Result:
        cls = context.cls if isinstance(context, Made) else type(context.value) if isinstance(context, Known) else None
        method = namelookup.in_class(cls, "__enter__") if cls is not None else MISSING
        return (self._returned(method, cls) if type(method) is types.FunctionType else None) or context

    def _constant(self, node: ast.Constant) -> Result:
        return Known(node.value)

    def _attribute(self, node: ast.Attribute) -> Result:
        base = self.evaluate(node.value)
        if isinstance(base, Shape):
            if node.attr == "target" and base.kind == PROXY:
                return Shape(base.columns, PARTITIONED)
            cls = _table_class(base.kind)
            base = Made(cls) if cls is not None else None
        if isinstance(base, Known):
            return self._found(namelookup.attribute(base.value, node.attr), _class_of(base.value))
        if isinstance(base, Made):
            found = self._found(namelookup.attribute_of_instances(base.cls, node.attr), base.cls)
            return found or self._declared(base.cls, node.attr)
        return None

    def _found(self, found: Any, owner: type) -> Result:
        if found is MISSING:
            return None
        if type(found) is Computed:
            return self._returned(found.getter, owner)
        return Known(found)

    def _declared(self, cls: type, name: str) -> Result:
        """A field that a class only annotates."""
        for base in namelookup.mro(cls):
            annotations = namelookup.class_dict(base).get("__annotations__")
            if type(annotations) is dict and name in annotations:
                module = sys.modules.get(namelookup.module_name(base))
                return self._annotated(annotations[name], vars(module) if module is not None else {}, cls)
        return None

    def _call(self, node: ast.Call) -> Result:
        made = self._table_call(node)
        if made is not None:
            return made
        function = self.evaluate(node.func)
        if isinstance(function, Defined):
            return self._called_definition(function)
        if not isinstance(function, Known):
            return None
        return source_shape(function.value, node, self) or self._called(function.value)

    def _table_call(self, node: ast.Call) -> Result:
        """A call of a table's method, or of a function of Deephaven's that makes a table of others."""
        if isinstance(node.func, ast.Attribute):
            receiver = self.shape(node.func.value)
            if receiver is not None:
                return self._after(receiver, node.func.attr, node)
        return None

    def _after(self, receiver: Shape, method: str, call: ast.Call) -> Shape | None:
        if receiver.kind == PARTITIONED and method in PARTITIONED_OPERATIONS:
            return tableshape.apply_partitioned(receiver, PARTITIONED_OPERATIONS[method])
        return tableshape.apply(receiver, method, call, self)

    def _called_definition(self, function: Defined) -> Result:
        node = function.node
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns is not None:
            return self._at(function.line, lambda: self._instance_of(node.returns))
        return None

    def _called(self, function: Any) -> Result:
        if namelookup.is_a(function, type):
            return Made(function) if function is not type else None
        name = namelookup.attribute(function, "__name__") if type(function) is types.BuiltinFunctionType else None
        if type(name) is str and vars(builtins).get(name) is function and name in _RESULTS:
            return Made(_RESULTS[name])
        if name in _ARRAYS and namelookup.module_name(function) == "numpy":
            return Made(sys.modules["numpy"].ndarray)
        if namelookup.one_of(type(function), (types.BuiltinFunctionType, types.MethodDescriptorType)):
            return _text_method(function)
        if type(function) is types.MethodType:
            return self._returned(function.__func__, _class_of(function.__self__))
        return self._returned(function, None)

    def _subscript(self, node: ast.Subscript) -> Result:
        base = self.evaluate(node.value)
        key = node.slice.value if isinstance(node.slice, ast.Constant) else MISSING
        if isinstance(node.slice, ast.UnaryOp) and isinstance(node.slice.operand, ast.Constant):
            key = -node.slice.operand.value if type(node.slice.operand.value) is int else MISSING
        if isinstance(base, Made) and base.node is not None:
            return self._at(min(base.line, self._line), lambda: self.evaluate(_item_shown(base.node, key)))
        if isinstance(base, Known):
            return _item(base.value, key)
        return None

    def _choice(self, node: ast.IfExp | ast.BoolOp) -> Result:
        choices = [node.body, node.orelse] if isinstance(node, ast.IfExp) else node.values
        return next((found for found in map(self.evaluate, choices) if not _is_nothing(found)), None)

    def _operator(self, node: ast.BinOp | ast.UnaryOp) -> Result:
        if isinstance(node, ast.UnaryOp):
            return Made(bool) if isinstance(node.op, ast.Not) else self._plain(node.operand)
        left, right = self._plain(node.left), self._plain(node.right)
        if left is None or right is None:
            return None
        if left.cls is str and isinstance(node.op, (ast.Mod, ast.Mult)):
            return left
        if left.cls is right.cls:
            return Made(float) if left.cls is int and isinstance(node.op, ast.Div) else left
        return Made(float) if {left.cls, right.cls} == {int, float} else None

    def _plain(self, node: ast.expr) -> Made | None:
        found = self.evaluate(node)
        cls = found.cls if isinstance(found, Made) else type(found.value) if isinstance(found, Known) else None
        plain = cls is not None and namelookup.one_of(cls, (str, bytes, int, float, complex, list, tuple, set, dict))
        return Made(cls) if plain and cls is not None else None

    def _named_expression(self, node: ast.NamedExpr) -> Result:
        return self.evaluate(node.value)

    # --- annotations

    def _instance_of(self, node: ast.expr | None) -> Result:
        cls = self._class_meant(node)
        return Made(cls) if cls is not None else None

    def _class_meant(self, node: ast.expr | None) -> type | None:
        """The class that a type hint means: the first that is not None of several, the outer one of a generic."""
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            return self._class_meant(node.left) or self._class_meant(node.right)
        if isinstance(node, ast.Subscript):
            outer = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if outer in ("Optional", "Union", "Annotated", "Final", "ClassVar"):
                options = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
                return next((cls for cls in map(self._class_meant, options) if cls is not None), None)
            return self._class_meant(node.value)
        if isinstance(node, ast.Constant):
            return self._class_meant(parse_expression(node.value)) if type(node.value) is str else None
        found = self.evaluate(node)
        return _class_in(found.value) if isinstance(found, Known) else None

    def _returned(self, function: Any, owner: type | None) -> Result:
        """What a function's annotation says that it returns."""
        if type(function) is not types.FunctionType:
            return None
        annotations = function.__annotations__
        if type(annotations) is not dict or "return" not in annotations:
            return None
        return self._annotated(annotations["return"], function.__globals__, owner)

    def _annotated(self, annotation: Any, names: dict[str, Any], owner: type | None) -> Result:
        if type(annotation) is str:
            if annotation in ("Self", "typing.Self"):
                return Made(owner) if owner is not None else None
            inner = Inference(names, None)
            inner._depth, inner._steps = self._depth, self._steps
            return inner._instance_of(parse_expression(annotation))
        cls = _class_in(annotation)
        return Made(cls) if cls is not None else None


def shape_of(result: Result) -> Shape | None:
    """The columns of what was found, if it is a table."""
    if isinstance(result, Shape):
        return result
    return livetables.shape_of(result.value) if isinstance(result, Known) else None


def _text_method(function: Any) -> Result:
    """What a method of `str` or `bytes` gives; most of them text again."""
    owner = function.__objclass__ if type(function) is types.MethodDescriptorType else type(function.__self__)
    if not namelookup.one_of(owner, (str, bytes)):
        return None
    changed = {"encode": bytes, "decode": str}.get(function.__name__, owner)
    return Made(_TEXT_METHODS.get(function.__name__, changed))


def returned_class(function: Any) -> type | None:
    """The class of what a function's annotation says that it returns."""
    made = Inference({}, None)._returned(function, None)
    return made.cls if isinstance(made, Made) else None


def _is_bare_table(result: Result) -> bool:
    """Some table of which nothing else is known: the one that has run under this name tells more."""
    bases = namelookup.mro(result.cls) if isinstance(result, Made) else ()
    return any(namelookup.is_class(base, "deephaven.table", TABLE) for base in bases)


def _is_nothing(result: Result) -> bool:
    return result is None or (isinstance(result, Known) and result.value is None)


def _texts_in(result: Result) -> list[str]:
    value = result.value if isinstance(result, Known) else None
    if type(value) is str:
        return [value]
    if namelookup.one_of(type(value), (list, tuple)):
        items: Any = value
        return [each for each in items[:1000] if type(each) is str]
    return []


def _class_of(value: Any) -> type:
    return value if namelookup.is_a(value, type) else type(value)


def _table_class(kind: str) -> type | None:
    module = sys.modules.get("deephaven.table")
    cls = getattr(module, kind, None)
    return cls if isinstance(cls, type) else None


def _class_in(annotation: Any) -> type | None:
    """The class that a type hint means that is an object already: of several the first that is not None."""
    if namelookup.is_a(annotation, type) and type(annotation) is not types.GenericAlias:
        cls: type = annotation
        return cls if cls is not type(None) else None
    if not _is_hint(annotation):
        return None
    origin = typing.get_origin(annotation)
    if namelookup.is_a(origin, type) and origin is not types.UnionType:
        found: type = origin
        return found
    return next((cls for cls in map(_class_in, typing.get_args(annotation)) if cls is not None), None)


def _is_hint(value: Any) -> bool:
    return namelookup.module_name(type(value)) in ("typing", "types")


def _item_shown(node: ast.expr | None, key: Any) -> ast.expr | None:
    """The element of a list or dictionary that the source displays."""
    if isinstance(node, (ast.List, ast.Tuple)) and type(key) is int and -len(node.elts) <= key < len(node.elts):
        return node.elts[key]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return next((value for each, value in pairs if isinstance(each, ast.Constant) and each.value == key), None)
    return None


def _item(value: Any, key: Any) -> Result:
    """An element of a list, tuple or dictionary, of exactly these types or one that leaves their lookup alone."""
    kind = type(value)
    if namelookup.one_of(kind, (list, tuple)) and type(key) is int and -len(value) <= key < len(value):
        return Known(value[key])
    if namelookup.is_a(value, dict) and namelookup.one_of(type(key), (str, int, bytes, bool, float)):
        if namelookup.in_class(kind, "__getitem__") is not dict.__getitem__:
            return None
        found = namelookup.item_of(value, key)
        return Known(found) if found is not MISSING else None
    if kind is str and key is not MISSING:
        return Made(str)
    pandas = sys.modules.get("pandas")
    if pandas is not None and type(key) is str and kind is getattr(pandas, "DataFrame", None):
        return Made(pandas.Series) if key in namelookup.frame_columns(value) else None
    return None


_HANDLERS: dict[type, Callable[[Inference, Any], Result]] = {
    ast.Name: Inference._name,
    ast.Constant: Inference._constant,
    ast.Attribute: Inference._attribute,
    ast.Call: Inference._call,
    ast.Subscript: Inference._subscript,
    ast.IfExp: Inference._choice,
    ast.BoolOp: Inference._choice,
    ast.BinOp: Inference._operator,
    ast.UnaryOp: Inference._operator,
    ast.NamedExpr: Inference._named_expression,
}
