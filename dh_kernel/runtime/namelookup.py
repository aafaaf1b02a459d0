"""Looking at live objects without running anything of theirs: attributes, names, kinds.

Neighbours: `signatures`, `inference`, `completion`, `inspection` (ask it). Refuses to call properties, `__getattr__`,
`__dir__`, `__repr__`, `__eq__` or a metaclass: classes are asked through `type`'s own slots, instances through their
dictionary, and no `isinstance`, which believes what an object says of its class.
"""

from __future__ import annotations

import collections
import dis
import functools
import itertools
import sys
import types
from dataclasses import dataclass
from typing import Any

MISSING: Any = type("Missing", (), {"__slots__": (), "__repr__": lambda self: "MISSING"})()
_MRO = type.__dict__["__mro__"].__get__
_CLASS_DICT = type.__dict__["__dict__"].__get__
_CLASS_MODULE = type.__dict__["__module__"].__get__
_CLASS_NAME = type.__dict__["__name__"].__get__
_CALLED_IN_C = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.MethodWrapperType,
)
_SLOTS = (types.MemberDescriptorType, types.GetSetDescriptorType)
_MOST_INSTRUCTIONS = 5_000
_ROUTINES = (types.FunctionType, types.MethodType, *_CALLED_IN_C)
_FIELDS = (*_SLOTS, type(vars(collections.namedtuple("_Pair", "first"))["first"]))
# Reading a computed attribute of these packages' C types is a read of a field.
_PLAIN_GETTERS = {"builtins", "types", "datetime", "decimal", "collections", "numpy"}


@dataclass(frozen=True)
class Computed:
    """An attribute that is there, but whose value takes a run of `getter`; it may tell its type by an annotation."""

    getter: Any


class _AnyObject:
    """Stands for an instance that is not at hand, as the first argument of a bound method."""


_ANY_OBJECT = _AnyObject()


def is_a(value: object, cls: type) -> bool:
    """`isinstance`, by what the object is and not by what it says. `cls` is one of Python's own."""
    return issubclass(type(value), cls)


def one_of(cls: type, classes: tuple[type, ...]) -> bool:
    """Whether a class is one of some, without asking its metaclass whether they are equal."""
    return any(cls is candidate for candidate in classes)


def mro(cls: type) -> tuple[type, ...]:
    """A class and its bases, in order."""
    found: tuple[type, ...] = _MRO(cls)
    return found


def class_dict(cls: type) -> types.MappingProxyType[str, Any]:
    """A class's own attributes."""
    found: types.MappingProxyType[str, Any] = _CLASS_DICT(cls)
    return found


def in_class(cls: type, name: str) -> Any:
    """What a class or its bases define under a name, as it is; MISSING if nothing."""
    for base in mro(cls):
        own = class_dict(base)
        if name in own:
            return own[name]
    return MISSING


def instance_dict(value: object) -> dict[Any, Any]:
    """An instance's own attributes, not a copy; empty where it has none, or hides them."""
    slot = in_class(type(value), "__dict__")
    if not one_of(type(slot), _SLOTS):
        return {}
    try:
        found = slot.__get__(value, type(value))
    except Exception:
        return {}
    return found if type(found) is dict else {}


def keys_of(mapping: dict[Any, Any]) -> list[Any]:
    """A dictionary's keys, though others may change it meanwhile."""
    for _ in range(10):
        try:
            return list(dict.keys(mapping))
        except RuntimeError:
            continue
    return []


def names_in(mapping: dict[Any, Any]) -> list[str]:
    """A dictionary's keys that are plain text."""
    return [key for key in keys_of(mapping) if type(key) is str]


def item_of(mapping: dict[Any, Any], key: object) -> Any:
    """`mapping[key]` for a key of a plain type, without asking other keys whether they are equal; MISSING if there is none."""
    plain = type(key)
    for found in keys_of(mapping):
        if type(found) is plain and found == key:
            return dict.get(mapping, found, MISSING)
    return MISSING


def global_of(namespace: dict[str, Any], name: str) -> Any:
    """A global's value, MISSING if there is none. As Python itself looks it up."""
    return namespace.get(name, MISSING)


def attribute(value: object, name: str) -> Any:
    """An attribute, found without running anything: its value, or Computed, or MISSING."""
    cls = type(value)
    if is_a(value, type):
        found = in_class(value, name)  # type: ignore[arg-type]
        if found is not MISSING:
            return _bound(found, MISSING, value)
        members = _enum_members(value)  # type: ignore[arg-type]
        if name in members:
            return members[name]
    found = in_class(cls, name)
    if not _overrides_instances(found):
        own = item_in(instance_dict(value), name)
        if own is not MISSING:
            return own
    return _bound(found, value, cls)


def item_in(attributes: dict[Any, Any], name: str) -> Any:
    """An entry of an instance's or a module's dictionary, MISSING if there is none."""
    return attributes.get(name, MISSING)


def attribute_of_instances(cls: type, name: str) -> Any:
    """As `attribute`, for some instance of a class. Methods come bound to something that must not be used."""
    return _bound(in_class(cls, name), _ANY_OBJECT, cls)


def attribute_names(value: object) -> list[str]:
    """The names of an object's attributes."""
    if is_a(value, types.ModuleType):
        return _module_names(value)
    if is_a(value, type):
        return [*_class_names(value), *_enum_members(value)]  # type: ignore[arg-type]
    names = dict.fromkeys(names_in(instance_dict(value)))
    names.update(dict.fromkeys(_class_names(type(value))))
    names.update(dict.fromkeys(_column_names(value)))
    return list(names)


def instance_names(cls: type) -> list[str]:
    """The names of the attributes that instances of a class have: by their class, and by what their construction sets."""
    names = dict.fromkeys(_class_names(cls))
    for base in mro(cls):
        declared = class_dict(base).get("__annotations__")
        names.update(dict.fromkeys(names_in(declared) if type(declared) is dict else ()))
        for method in ("__init__", "__post_init__", "__new__"):
            names.update(dict.fromkeys(_set_by(class_dict(base).get(method))))
    return list(names)


def _set_by(method: Any) -> list[str]:
    """The attributes of its first argument that a method sets, read from its code."""
    if type(method) is not types.FunctionType or not method.__code__.co_argcount:
        return []
    first = method.__code__.co_varnames[0]
    found, loaded = [], ""
    for step in itertools.islice(dis.get_instructions(method.__code__), _MOST_INSTRUCTIONS):
        if step.opname == "STORE_ATTR" and loaded.endswith(first):
            found.append(str(step.argval))
        loaded = step.argrepr.rpartition(" ")[2] if "LOAD_FAST" in step.opname else ""
    return found


def kind_of(value: object) -> str:
    """What an object is, in Jupyter's words."""
    if type(value) is Computed:
        return "property"
    if is_a(value, type):
        return "class"
    if is_a(value, types.ModuleType):
        return "module"
    if is_routine(value) or in_class(type(value), "__call__") is not MISSING:
        return "function"
    return "instance"


def is_routine(value: object) -> bool:
    """Whether it is a function or method, of Python's or C's."""
    return one_of(type(value), _ROUTINES)


def is_code(value: object) -> bool:
    """Whether it has a source: a function, a class or a module."""
    return is_routine(value) or is_a(value, type) or is_a(value, types.ModuleType)


def is_instance_of(value: object, module: str, name: str) -> bool:
    """Whether an object is of a class that is known by its module and name, which need not be loaded."""
    return any(is_class(base, module, name) for base in mro(type(value)))


def is_class(cls: type, module: str, name: str) -> bool:
    """Whether a class is the one of this name in this module."""
    return class_name(cls) == name and module_name(cls) == module


def class_name(cls: type) -> str:
    """A class's name, which its metaclass cannot change."""
    return str(_CLASS_NAME(cls))


def module_name(value: Any) -> str:
    """The module that a class or function says it is from, "" if that is no plain text."""
    try:
        if is_a(value, type):
            found = _CLASS_MODULE(value)
        else:
            found = value.__module__ if one_of(type(value), (types.FunctionType, types.BuiltinFunctionType)) else ""
    except AttributeError:
        return ""
    return found if type(found) is str else ""


def has_plain_metaclass(cls: type) -> bool:
    """Whether asking a class for an attribute runs nothing: its metaclass has no hooks but Python's own."""
    return all(
        one_of(base, (type, object)) or module_name(base) in ("abc", "enum", "typing", "builtins", "_ctypes")
        for base in mro(type(cls))
    )


def _overrides_instances(found: Any) -> bool:
    """Whether a class's attribute goes before the instance's own: a descriptor that can be set."""
    return found is not MISSING and in_class(type(found), "__set__") is not MISSING


def _bound(found: Any, instance: Any, owner: Any) -> Any:
    """What access by the instance, or by the class where that is MISSING, gives for an attribute of the class."""
    kind = type(found)
    if found is MISSING or in_class(kind, "__get__") is MISSING:
        return found
    if kind is types.FunctionType:
        return found if instance is MISSING else types.MethodType(found, instance)
    if kind is staticmethod:
        return found.__func__
    if kind is classmethod:
        function = found.__func__
        return types.MethodType(function, owner) if type(function) is types.FunctionType else Computed(None)
    if kind is property:
        return found if instance is MISSING else Computed(found.fget)
    if kind is functools.cached_property:
        return found if instance is MISSING else Computed(instance_dict(found).get("func"))
    if one_of(kind, (*_CALLED_IN_C, types.MethodType)) or is_a(found, type):
        return _bound_in_c(found, instance, owner)
    if one_of(kind, _FIELDS):
        return found if instance is MISSING else _field(found, instance)
    return Computed(None)


def _bound_in_c(found: Any, instance: Any, owner: Any) -> Any:
    if not one_of(type(found), _CALLED_IN_C) or instance is _ANY_OBJECT:
        return found
    try:
        return found.__get__(None if instance is MISSING else instance, owner)
    except TypeError:
        return found


def _field(found: Any, instance: Any) -> Any:
    plain = (
        type(found) is not types.GetSetDescriptorType or module_name(found.__objclass__).partition(".")[0] in _PLAIN_GETTERS
    )
    if instance is _ANY_OBJECT or not plain:
        return Computed(None)
    try:
        return found.__get__(instance, type(instance))
    except Exception:
        return MISSING


def _class_names(cls: type) -> list[str]:
    names: dict[str, None] = {}
    for base in mro(cls):
        names.update(dict.fromkeys(name for name in class_dict(base).copy() if type(name) is str))
    return list(names)


def _enum_members(cls: type) -> dict[str, Any]:
    """Up to Python 3.10 an enumeration's members are not in its dictionary."""
    members = in_class(cls, "_member_map_") if module_name(type(cls)) == "enum" else MISSING
    return members if type(members) is dict else {}


def _module_names(module: object) -> list[str]:
    attributes = instance_dict(module)
    listed: Any = attributes.get("__all__")
    lazy = [name for name in listed if type(name) is str] if one_of(type(listed), (list, tuple)) else []
    own = names_in(attributes) if type(module) is types.ModuleType else [*names_in(attributes), *_class_names(type(module))]
    return list(dict.fromkeys([*own, *lazy]))


def _column_names(value: object) -> list[str]:
    """The columns of a pandas frame, which are attributes too."""
    return [name for name in frame_columns(value) if type(name) is str and name.isidentifier()]


def frame_columns(value: object, most: int = 1000) -> list[Any]:
    """The columns of a data frame of pandas or an Arrow table: of these very classes, not of those made from them."""
    pandas, arrow = sys.modules.get("pandas"), sys.modules.get("pyarrow")
    cls = type(value)
    try:
        if pandas is not None and cls is getattr(pandas, "DataFrame", None):
            return list(value.columns[:most])  # type: ignore[attr-defined]
        if arrow is not None and cls in (getattr(arrow, "Table", None), getattr(arrow, "RecordBatch", None)):
            return list(value.schema.names[:most])  # type: ignore[attr-defined]
    except Exception:  # made half, or without its columns
        return []
    return []
