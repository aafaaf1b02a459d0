"""How a function is called: its parameters and its signature as text, without running a default's or annotation's `__repr__`.

Neighbours: `namelookup`; `completion` and `inspection` (ask it). Refuses to follow `__signature__` and `__wrapped__` into
what is not a plain function.
"""

from __future__ import annotations

import functools
import inspect
import re
import reprlib
import types
import typing
import weakref
from inspect import Parameter, Signature
from typing import Any

from . import namelookup
from .namelookup import MISSING

_PLAIN = (str, bytes, int, float, complex, bool, type(None), type(Ellipsis))
_CONTAINERS = (list, dict, tuple, set, frozenset)
_TYPING = ("typing", "types", "typing_extensions")
_DOCUMENTED = re.compile(r"[^\W\d]\w*(\([^\n]*?\))(?:\s*->.*|\s*[-:].*)?$")
_MOST_ITEMS = 50
_DEEPEST = 4
_MOST_KEPT = 5_000

_texts: dict[tuple[int, bool], tuple[weakref.ref[Any], str]] = {}


class _Text:
    """Shows as the text that was made for something else."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def signature_of(value: Any) -> Signature | None:
    """How a function, class or callable instance is called; None where that cannot be told without running its code."""
    function = _function_of(value)
    if function is None:
        return None
    try:
        found = inspect.signature(function, follow_wrapped=False)
    except Exception:
        return None
    return _without_first(found) if _takes_self(value) else found


def signature_text(value: Any) -> str:
    """`(a, b=2)`, "" where it cannot be told."""
    function = value.__func__ if type(value) is types.MethodType else value
    key = (id(function), function is value)
    kept = _texts.get(key)
    if kept is not None and kept[0]() is function:
        return kept[1]
    text = _signature_text(value)
    if type(function) is types.FunctionType:
        if len(_texts) >= _MOST_KEPT:
            _texts.clear()
        _texts[key] = (weakref.ref(function), text)
    return text


def _signature_text(value: Any) -> str:
    found = signature_of(value)
    if found is None:
        return _documented(value)
    try:
        return str(_shown(found))
    except Exception:
        return ""


def keyword_names(value: Any) -> list[str]:
    """The names of the parameters that can be given as `name=`."""
    found = signature_of(value)
    if found is None:
        return re.findall(r"(\w+) ?=", _documented(value))
    kinds = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return [name for name, parameter in found.parameters.items() if parameter.kind in kinds]


def plain_text(value: Any, depth: int = 0) -> str | None:
    """The `repr` of a value of Python's own plain types, all the way down and cut short; None for others."""
    kind = type(value)
    if namelookup.one_of(kind, _PLAIN):
        return _SHORT.repr(value)
    if not namelookup.one_of(kind, _CONTAINERS) or depth >= _DEEPEST:
        return None
    texts = [_item_text(value, item, depth) for item in _first_items(value)]
    more = ["..."] if len(value) > _MOST_ITEMS else []
    return _bracketed(kind, [text for text in texts if text is not None] + more) if None not in texts else None


def named_type(cls: type) -> str:
    """A class as `module.name`, without the module for Python's own."""
    name = type.__dict__["__qualname__"].__get__(cls)
    module = namelookup.module_name(cls)
    return str(name) if module in ("builtins", "") else f"{module}.{name}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 1000


def _documented(value: Any) -> str:
    """The signature that the documentation of one of C's functions or classes begins with, as that of `min` and `dict`."""
    text: Any = None
    if namelookup.is_a(value, type) and namelookup.has_plain_metaclass(value):
        text = namelookup.class_dict(value).get("__doc__")
    elif namelookup.one_of(type(value), (types.BuiltinFunctionType, types.MethodDescriptorType)):
        text = value.__doc__
    lines = text.lstrip().splitlines() if type(text) is str else []
    for line in lines[:4]:
        found = _DOCUMENTED.match(line)
        if found is not None and ("=" in found[1] or line == lines[0]):
            return found[1]
    return ""


def _function_of(value: Any) -> Any:
    """The plain function whose signature tells how the value is called."""
    if namelookup.one_of(type(value), (types.BuiltinFunctionType, types.MethodWrapperType)):
        return _unbound(value)
    if namelookup.is_routine(value):
        return _unwrapped(value)
    if namelookup.is_a(value, type):
        return _constructor(value)
    if type(value) is functools.partial:
        return value if namelookup.is_routine(value.func) and _unwrapped(value.func) is not None else None
    wrapped = namelookup.instance_dict(value).get("__wrapped__")  # functools.cache
    called = wrapped if namelookup.is_routine(wrapped) else namelookup.attribute(value, "__call__")
    return _unwrapped(called) if namelookup.is_routine(called) else None


def _unbound(method: Any) -> Any:
    """A method of C's without its instance, which `inspect` would look at; functions, and methods of classes, as they are."""
    owner = method.__self__
    if owner is None or type(owner) is types.ModuleType or namelookup.is_a(owner, type):
        return method
    found = namelookup.in_class(type(owner), method.__name__)
    return found if namelookup.one_of(type(found), (types.MethodDescriptorType, types.WrapperDescriptorType)) else None


def _unwrapped(function: Any) -> Any:
    """What a decorator has wrapped, as far as those are plain functions."""
    for _ in range(20):
        attributes = namelookup.instance_dict(function)
        told = attributes.get("__signature__", MISSING)
        if told is not MISSING and type(told) is not Signature:
            return None
        inner = attributes.get("__wrapped__", MISSING)
        if told is not MISSING or type(function) is not types.FunctionType or not namelookup.is_routine(inner):
            break
        function = inner
    if type(function) is types.MethodType:
        return function if type(function.__func__) is types.FunctionType else None
    return function


def _constructor(cls: type) -> Any:
    """What takes a class's arguments: its metaclass's `__call__`, `__init__` or `__new__`, whichever is first."""
    if not namelookup.has_plain_metaclass(cls):
        return None
    if namelookup.module_name(type(cls)) == "enum" or namelookup.module_name(cls) == "builtins":
        return cls
    for base in namelookup.mro(cls):
        own = namelookup.class_dict(base)
        for name in ("__init__", "__new__"):
            found = own.get(name)
            found = found.__func__ if type(found) is staticmethod else found
            if type(found) is types.FunctionType:
                return _unwrapped(found)
    return None


def _takes_self(value: Any) -> bool:
    """Whether the function at hand has a first parameter that a caller does not give."""
    function = _function_of(value)
    return function is not value and (
        (namelookup.is_a(value, type) and type(function) is types.FunctionType)
        or namelookup.one_of(type(function), (types.MethodDescriptorType, types.WrapperDescriptorType))
    )


def _without_first(signature: Signature) -> Signature:
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
        del parameters[0]
    return signature.replace(parameters=parameters, return_annotation=Signature.empty)


def _shown(signature: Signature) -> Signature:
    """The same with texts in the place of defaults and annotations."""
    parameters = [
        Parameter(
            name,
            parameter.kind,
            default=_default(parameter.default),
            annotation=_annotation(parameter.annotation),
        )
        for name, parameter in signature.parameters.items()
    ]
    return Signature(parameters, return_annotation=_annotation(signature.return_annotation))


def _default(value: Any) -> Any:
    if value is Parameter.empty:
        return value
    text = plain_text(value)
    return _Text(text if text is not None else _short_name(value))


def _short_name(value: Any) -> str:
    if namelookup.is_a(value, type):
        return named_type(value)
    name = namelookup.instance_dict(value).get("_name_") if namelookup.is_instance_of(value, "enum", "Enum") else None
    if type(name) is str:
        return f"{namelookup.class_name(type(value))}.{name}"
    return f"<{namelookup.class_name(type(value))}>"


def _annotation(value: Any) -> Any:
    if value is Parameter.empty:
        return value
    if type(value) is str:
        return _Text(repr(value))
    if namelookup.is_a(value, type) and type(value) is not types.GenericAlias:
        return _Text(named_type(value))
    return _Text(repr(value).replace("typing.", "") if _is_typing(value) else _short_name(value))


def _is_typing(value: Any, depth: int = 0) -> bool:
    """Whether all of a type hint is the typing module's, classes and plain text."""
    if namelookup.one_of(type(value), _PLAIN):
        return True
    if namelookup.is_a(value, type) and type(value) is not types.GenericAlias:
        return namelookup.has_plain_metaclass(value)
    if depth > _DEEPEST or namelookup.module_name(type(value)) not in _TYPING:
        return False
    if typing.get_origin(value) is typing.Annotated:
        return False
    return all(_is_typing(part, depth + 1) for part in typing.get_args(value) if type(part) is not list)


def _first_items(value: Any) -> list[Any]:
    found: list[Any] = []
    try:
        for item in value.items() if type(value) is dict else value:
            found.append(item)
            if len(found) == _MOST_ITEMS:
                break
    except RuntimeError:  # it changes meanwhile
        pass
    return found


def _item_text(container: Any, item: Any, depth: int) -> str | None:
    if type(container) is not dict:
        return plain_text(item, depth + 1)
    key, value = plain_text(item[0], depth + 1), plain_text(item[1], depth + 1)
    return f"{key}: {value}" if key is not None and value is not None else None


def _bracketed(kind: type, texts: list[str]) -> str:
    inside = ", ".join(texts)
    if kind is tuple:
        return f"({inside},)" if len(texts) == 1 else f"({inside})"
    if kind is list:
        return f"[{inside}]"
    if kind is frozenset:
        return f"frozenset({{{inside}}})" if texts else "frozenset()"
    return f"{{{inside}}}" if texts or kind is dict else "set()"
