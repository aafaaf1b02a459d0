"""What jedi knows that the rest cannot tell: attributes of what some call gives, names in code that has not run.

Neighbours: `completion`, `inspection` (ask it last). jedi is imported when first needed, and there need not be one. It gets
the live namespace through an environment of ours, which shows it no object whose attributes could run code, imports nothing,
and does not exchange `sys.path` under a running cell as jedi's own does. Refuses to answer two threads at once.
"""

from __future__ import annotations

import ctypes
import functools
import sys
import threading
import time
import types
from dataclasses import dataclass
from typing import Any

from . import namelookup, signatures
from .inference import returned_class
from .threads import ServiceThread

MOST_CHARACTERS = 20_000
_BUSY_S = 0.1
_LONGEST_S = 0.8
_ENDLESS_S = 30.0
_HOOK_NAMES = """
__getattr__ __getattribute__ __dir__ __class__ __dict__ __doc__ __module__ __name__ __qualname__ __annotations__ __wrapped__
__signature__ __objclass__ __file__ __path__ __mro__ __bases__ __code__ __text_signature__
"""
_HOOKS = tuple(_HOOK_NAMES.split())
_TRUSTED = ("builtins", "abc", "enum", "typing", "types", "collections", "functools", "numpy", "datetime", "re", "pathlib")
_TRUSTED_MODULES = ("numpy", "pandas", "scipy", "sklearn", "matplotlib", "pyarrow", "deephaven")


class _State:
    """What jedi's thread is at."""

    ident: int | None = None
    since = 0.0


_state = _State()
_turn = threading.Lock()


@dataclass(frozen=True)
class JediName:
    """A completion: the whole name and jedi's word for what it is."""

    name: str
    kind: str


class _Hidden:
    """Stands in jedi's eyes for an object that must not be looked at."""


_HIDDEN = _Hidden()


def complete(namespace: dict[str, Any], code: str) -> list[JediName]:
    """The completions at the end of the code; none without jedi, or while it is busy with another question."""
    return _ask(namespace, code, "complete")


def describe(namespace: dict[str, Any], code: str) -> str | None:
    """Signature and documentation of the name at the end of the code."""
    return next(iter(_ask(namespace, code, "help")), None)


def warm_up() -> None:
    """Import jedi, and let it read what it always reads: the first question is then as quick as others."""
    _ask({}, "''.", "complete", 60.0)


def _ask(namespace: dict[str, Any], code: str, what: str, longest_s: float | None = None) -> list[Any]:
    """Have jedi work on a thread of its own, for some time; if it takes longer it goes on, for what it has read is kept."""
    if len(code) > MOST_CHARACTERS or not _turn.acquire(timeout=_BUSY_S):
        _end_if_endless()
        return []
    found: list[Any] = []
    done = threading.Event()

    def work() -> None:
        _state.ident, _state.since = threading.get_ident(), time.monotonic()
        try:
            found.extend(_answer(namespace, code, what))
            done.set()
        finally:
            _state.ident = None
            _turn.release()

    ServiceThread(target=work, name="dh-kernel-jedi").start()
    return found if done.wait(_LONGEST_S if longest_s is None else longest_s) else []


def _answer(namespace: dict[str, Any], code: str, what: str) -> list[Any]:
    try:
        make = _interpreter_class()
        if make is None:
            return []
        lines = code.split("\n")
        interpreter, place = make(code, dict(namespace)), (len(lines), len(lines[-1]))
        if what == "complete":
            return [JediName(str(each.name_with_symbols), str(each.type)) for each in interpreter.complete(*place)]
        texts = [str(each.docstring()) for each in interpreter.help(*place) if each.type != "keyword"]
        return [text for text in texts if text]
    except Exception:  # jedi's own faults are many, and its internals may be others than those that are wrapped here
        return []


def _end_if_endless() -> None:
    """End a question that jedi has not answered for so long that it never will."""
    ident = _state.ident
    if ident is not None and time.monotonic() - _state.since > _ENDLESS_S:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(SystemExit))


@functools.cache
def _interpreter_class() -> Any:
    """jedi's interpreter with our way of looking at objects; None without jedi, or with an unknown one."""
    try:
        import jedi
        from jedi.api.environment import InterpreterEnvironment
        from jedi.inference.compiled import access, subprocess
        from jedi.inference.compiled.subprocess import functions
    except ImportError:
        return None

    class Access(access.DirectObjectAccess):  # type: ignore[misc]
        """Looks at an object without running anything of it."""

        def dir(self) -> list[str]:
            return namelookup.attribute_names(self._obj)

        def py__bool__(self) -> bool:
            return bool(self._obj) if signatures.plain_text(self._obj) is not None else True

        def has_iter(self) -> bool:
            return namelookup.in_class(type(self._obj), "__iter__") is not namelookup.MISSING

        def get_repr(self) -> str:
            return f"<{namelookup.class_name(type(self._obj))}>"

        def is_allowed_getattr(self, name: str, safe: bool = True) -> tuple[bool, bool, Any]:
            found = namelookup.attribute(self._obj, name)
            if type(found) is namelookup.Computed:
                return True, True, Access(self._inference_state, found.getter).get_return_annotation()
            return found is not namelookup.MISSING, False, None

        def get_return_annotation(self) -> Any:
            cls = returned_class(self._obj)
            return self._create_access_path(cls) if cls is not None else None

        def getattr_paths(self, name: str, default: Any = None) -> list[Any]:
            found = namelookup.attribute(self._obj, name)
            unknown = found is namelookup.MISSING or type(found) is namelookup.Computed
            if unknown or not _harmless(found):
                return [self._create_access(_HIDDEN)]
            return list(super().getattr_paths(name, default))

        def get_signature_params(self) -> list[Any]:
            told = signatures.signature_of(self._obj)
            if told is None:
                raise ValueError("no signature")  # what jedi expects
            return [_parameter(self, access.SignatureParam, each) for each in told.parameters.values()]

        def get_array_type(self) -> str | None:
            return "dict" if type(self._obj) is dict else None

        def py__getitem__all_values(self) -> Any:
            return super().py__getitem__all_values() if type(self._obj) in (dict, list, tuple) else None

        def py__simple_getitem__(self, index: Any, *, safe: bool = True) -> Any:
            if type(self._obj) is not dict:
                return super().py__simple_getitem__(index, safe=True)
            found = namelookup.item_of(self._obj, index)
            return self._create_access_path(found) if found is not namelookup.MISSING else None

        def execute_operation(self, other_access_handle: Any, operator: str) -> Any:
            values = (self._obj, other_access_handle.access._obj)
            if any(type(value) not in (str, bytes, int, float) for value in values):
                raise TypeError("not a plain value")
            return super().execute_operation(other_access_handle, operator)

    class Process(subprocess.InferenceStateSameProcess):  # type: ignore[misc]
        """Hands out looks at objects, and looks for modules."""

        def get_or_create_access_handle(self, obj: Any) -> Any:
            shown = obj if _harmless(obj) else _HIDDEN
            try:
                return self.get_access_handle(id(shown))
            except KeyError:
                handle = subprocess.AccessHandle(self, Access(self._inference_state_weakref(), shown), id(shown))
                self.set_access_handle(handle)
                return handle

        def load_module(self, dotted_name: str, sys_path: list[str]) -> Any:
            module = sys.modules.get(dotted_name)
            return access.create_access_path(self._inference_state_weakref(), module) if module is not None else None

        def get_module_info(self, sys_path: Any = None, **more: Any) -> Any:
            return functions.get_module_info(self._inference_state_weakref(), **more)

    class Environment(InterpreterEnvironment):  # type: ignore[misc]
        """This process."""

        def get_inference_state_subprocess(self, inference_state: Any) -> Any:
            return Process(inference_state)

    class Interpreter(jedi.Interpreter):  # type: ignore[misc]
        """One question. A project of nothing but the interpreter's path: jedi's default looks for files around."""

        def __init__(self, code: str, namespace: dict[str, Any]) -> None:
            project = jedi.Project("/", sys_path=list(sys.path), smart_sys_path=False)
            jedi.Script.__init__(self, code, environment=Environment(), project=project)
            self.namespaces = [namespace]
            self._inference_state.allow_unsafe_executions = False
            self._inference_state.do_dynamic_params_search = False

    return Interpreter


def _parameter(access: Any, make: Any, parameter: Any) -> Any:
    empty = parameter.empty
    annotation = parameter.annotation if parameter.annotation is not empty else None
    return make(
        name=parameter.name,
        has_default=parameter.default is not empty,
        default=access._create_access_path(parameter.default),
        default_string=signatures.plain_text(parameter.default) or "...",
        has_annotation=annotation is not None,
        annotation=access._create_access_path(parameter.annotation),
        annotation_string=annotation if type(annotation) is str else "",
        kind_name=str(parameter.kind),
    )


def _harmless(value: Any) -> bool:
    """Whether asking an object for any attribute that it has runs nothing of the user's."""
    if namelookup.is_a(value, type):
        return namelookup.has_plain_metaclass(value) and not _has_strange_names(value)
    if namelookup.is_a(value, types.ModuleType) and "__getattr__" in namelookup.instance_dict(value):
        return str(namelookup.instance_dict(value).get("__name__")).partition(".")[0] in _TRUSTED_MODULES
    return all(map(namelookup.has_plain_metaclass, namelookup.mro(type(value)))) and _has_plain_class(type(value))


def _has_plain_class(cls: type) -> bool:
    return all(
        namelookup.module_name(base).partition(".")[0] in _TRUSTED
        or (not any(name in namelookup.class_dict(base) for name in _HOOKS if not _is_plain(base, name)))
        for base in namelookup.mro(cls)
    ) and not any(hasattr(base, "jclassname") for base in namelookup.mro(cls) if namelookup.has_plain_metaclass(base))


def _has_strange_names(cls: type) -> bool:
    return any(not _is_plain(base, name) for base in namelookup.mro(cls) for name in ("__doc__", "__module__", "__dict__"))


def _is_plain(cls: type, name: str) -> bool:
    """Whether a special name in a class's dictionary is what Python itself puts there."""
    found = namelookup.class_dict(cls).get(name)
    if name in ("__getattr__", "__getattribute__", "__dir__"):
        return name not in namelookup.class_dict(cls) or namelookup.is_class(type(found), "builtins", "wrapper_descriptor")
    return not namelookup.is_a(found, property) and type(found) is not type(_is_plain)
