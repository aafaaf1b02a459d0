"""Completions from the file system: paths in strings and on lines for the shell, modules that can be imported.

Neighbours: `completion`. Looks into folders one level at a time, and opens no file but the source of a module.
"""

from __future__ import annotations

import ast
import os
import re
import sys
import threading
from importlib.machinery import all_suffixes

from .matches import Match

MOST_ENTRIES = 2_000
_MOST_SCANNED = 50_000
_MOST_SOURCE = 500_000
_listings: dict[str, tuple[float, list[str]]] = {}
_lock = threading.Lock()


def paths(typed: str, *, folders_only: bool = False, escaped: bool = False) -> list[Match]:
    """The files and folders that a path could go on with, each as the whole path, folders with `/` at the end.

    Args:
        typed: the path as it is written so far; `~` is the home folder.
        escaped: as a shell wants it, with a backslash before a space.
    """
    plain = re.sub(r"\\(.)", r"\1", typed) if escaped else typed
    folder, partial = os.path.split(plain)
    shown = plain[: len(plain) - len(partial)]
    try:
        entries = _entries(os.path.expanduser(folder) or ".", partial)
    except (OSError, ValueError):
        return []
    if plain == "~":
        return [Match("~/", "path")]
    found = [shown + name + ("/" if is_folder else "") for name, is_folder in entries if is_folder or not folders_only]
    return [Match(re.sub(r"([ '\"()&;$*?])", r"\\\1", text) if escaped else text, "path") for text in sorted(found)]


def _entries(folder: str, partial: str) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_SCANNED or len(found) >= MOST_ENTRIES:
                break
            if entry.name.startswith(partial) and (partial.startswith(".") or not entry.name.startswith(".")):
                found.append((entry.name, _is_folder(entry)))
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def modules() -> list[str]:
    """The names of modules that can be imported, as far as they are files."""
    found = dict.fromkeys(sys.builtin_module_names)
    for folder in list(sys.path):
        if type(folder) is str:
            found.update(dict.fromkeys(_modules_in(folder or ".")))
    return [name for name in found if name.isidentifier()]


def submodules(package: str) -> list[str]:
    """The names of a package's modules, whether it is loaded or not."""
    found: dict[str, None] = {}
    for folder in _folders_of(package):
        found.update(dict.fromkeys(_modules_in(folder)))
    return [name for name in found if name.isidentifier() and name != "__init__"]


def names_in_source(dotted: str) -> list[str]:
    """The names that a module's source binds at its top level; the module need not be loaded, and is not."""
    parent, _, name = dotted.rpartition(".")
    roots = _folders_of(parent) if parent else [folder for folder in list(sys.path) if type(folder) is str]
    for root in roots:
        for file in (os.path.join(root or ".", name, "__init__.py"), os.path.join(root or ".", f"{name}.py")):
            try:
                if os.path.getsize(file) <= _MOST_SOURCE:
                    return _bound_in(file)
            except (OSError, ValueError):
                continue
    return []


def _bound_in(file: str) -> list[str]:
    with open(file, "rb") as source:
        tree = ast.parse(source.read(_MOST_SOURCE))
    found: dict[str, None] = {}
    for statement in tree.body:
        for node in ast.walk(statement) if isinstance(statement, (ast.If, ast.Try)) else [statement]:
            found.update(dict.fromkeys(_names_bound_by(node)))
    return [name for name in found if name != "*"]


def _names_bound_by(node: ast.AST) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.ImportFrom) and node.module == "__future__":
        return []
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    if names == ["__all__"] and isinstance(node, ast.Assign) and isinstance(node.value, (ast.List, ast.Tuple)):
        names += [each.value for each in node.value.elts if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return names


def _folders_of(package: str) -> list[str]:
    module = sys.modules.get(package)
    if module is not None:
        listed = vars(module).get("__path__") if type(module) is type(sys) else None
        try:
            return [folder for folder in list(listed or ()) if type(folder) is str]
        except Exception:  # a namespace package asks its parent again
            return []
    parent, _, name = package.rpartition(".")
    roots = _folders_of(parent) if parent else [folder for folder in list(sys.path) if type(folder) is str]
    return [path for root in roots if os.path.isdir(path := os.path.join(root or ".", name))][:10]


def _modules_in(folder: str) -> list[str]:
    """A folder's modules; the listing is kept until the folder changes."""
    try:
        changed = os.stat(folder).st_mtime
        with _lock:
            kept = _listings.get(folder)
        if kept is not None and kept[0] == changed:
            return kept[1]
        names = _listed(folder)
    except (OSError, ValueError):
        return []
    with _lock:
        _listings[folder] = (changed, names)
    return names


def _listed(folder: str) -> list[str]:
    found: dict[str, None] = {}
    suffixes = tuple(all_suffixes())
    with os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= _MOST_SCANNED:
                break
            name = entry.name
            if name.endswith(suffixes):
                found[name.partition(".")[0]] = None
            elif "." not in name and name != "__pycache__" and _is_folder(entry):
                found[name] = None
    return list(found)
