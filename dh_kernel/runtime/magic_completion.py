"""IPython's part of completion and inspection: magics, their arguments, symbols by their LaTeX names.

Neighbours: `completion`, `inspection`. IPython is never loaded by this: what is there is found by its modules.
"""

from __future__ import annotations

import importlib
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

from . import namelookup, paths
from .dh_line import WORDS
from .matches import Match
from .source import MagicLine, Spot

# Of these the arguments are no paths; what is not known here may take one.
_FOLDERS = {"cd", "pushd", "rmdir", "mkdir"}
_NO_PATHS = {"matplotlib", "config", "load_ext", "reload_ext", "unload_ext", "env", "reset"}
_NAMES = {"who", "whos", "who_ls", "pdoc", "pinfo", "pinfo2", "pdef", "psource", "pfile", "store", "reset_selective", "xdel"}
_WORDS = {
    "matplotlib": ("agg", "inline", "auto", "widget", "ipympl", "notebook", "--list"),
    "dh": WORDS,
    "xmode": ("Plain", "Context", "Verbose", "Minimal"),
}
_MOST_SYMBOLS = 200


class Shell:
    """What is looked at of an IPython shell: plain data of its managers. Without one there are only the given names."""

    def __init__(self, shell: Any = None, names: Iterable[str] = ()) -> None:
        self._shell, self._names = shell, tuple(names)

    def table(self, kind: str) -> dict[str, Any]:
        """The magics of a kind, `line` or `cell`, by their names."""
        manager = getattr(self._shell, "magics_manager", None)
        found = dict(getattr(manager, "magics", {}).get(kind, {}))
        own = [name.lstrip("%") for name in self._names if name.startswith("%%") == (kind == "cell")]
        return {**dict.fromkeys(own), **found}

    @property
    def automagic(self) -> bool:
        """Whether a line magic can stand without its `%`."""
        return bool(getattr(self._shell, "automagic", False))

    def configurables(self) -> list[Any]:
        """What `%config` can set."""
        return list(getattr(self._shell, "configurables", ()))


def magic_names(shell: Shell, sigil: str, partial: str, *, first_line: bool) -> list[Match]:
    """The magics that begin so; with their `%`."""
    found = []
    if sigil != "%%":
        found += [Match(f"%{name}", "magic") for name in shell.table("line") if name.startswith(partial)]
    if sigil == "%%" or first_line:
        found += [Match(f"%%{name}", "magic") for name in shell.table("cell") if name.startswith(partial)]
    return found


def bare_magics(shell: Shell, partial: str, taken: Iterable[str], *, first_line: bool) -> list[Match]:
    """Magics without `%`, where IPython would take one; names that mean something else are left out."""
    if not partial or not shell.automagic:
        return []
    others = set(taken)
    found = magic_names(shell, "%", partial, first_line=first_line)
    return [match for match in found if match.text.lstrip("%") not in others]


def arguments(shell: Shell, namespace: dict[str, Any], spot: Spot, line: MagicLine) -> tuple[int, list[Match]]:
    """What can stand at the cursor behind a magic or in a line for the shell, and where it begins."""
    start = line.arguments + _word_start(spot.code[line.arguments :])
    word = spot.code[start:]
    if line.sigil.startswith("!"):
        if word.startswith(("$", "{")):
            return start + 1, _variables(namespace, word[1:])
        return start, paths.paths(word, escaped=True)
    if line.name == "config":
        return start, _settings(shell, word)
    if line.name in _WORDS:
        return start, [Match(name, "param") for name in _WORDS[line.name] if name.startswith(word)]
    if line.name in ("load_ext", "reload_ext", "unload_ext"):
        return start, [Match(name, "module") for name in paths.modules() if name.startswith(word)]
    if line.name in _NAMES:
        return start, _variables(namespace, word)
    if line.name in _NO_PATHS or word.startswith("-"):
        return start, []
    return start, paths.paths(word, folders_only=line.name in _FOLDERS, escaped=True)


def _variables(namespace: dict[str, Any], partial: str) -> list[Match]:
    return [Match(name, "instance") for name in sorted(namelookup.names_in(namespace)) if name.startswith(partial)]


def _word_start(text: str) -> int:
    """Where the last word begins; spaces behind a backslash and in quotes belong to it."""
    start, quote, index = 0, "", 0
    while index < len(text):
        character = text[index]
        if character == "\\" and not quote:
            index += 1
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote, start = character, index + 1
        elif character in " \t=|<>;&()":
            start = index + 1
        index += 1
    return min(start, len(text))


def _settings(shell: Shell, word: str) -> list[Match]:
    """`%config`: the classes that can be configured, and their traits."""
    owner, dot, partial = word.partition(".")
    found = []
    for each in shell.configurables():
        name = namelookup.class_name(type(each))
        if dot and name == owner:
            traits = _configurable_traits(each)
            found += [Match(f"{name}.{trait}", "param") for trait in sorted(traits) if trait.startswith(partial)]
        elif not dot and name.startswith(owner) and _configurable_traits(each):
            found.append(Match(name, "class"))
    return sorted(set(found), key=lambda match: match.text)


def _configurable_traits(configurable: Any) -> list[str]:
    cls = type(configurable)
    return [name for name in namelookup.instance_names(cls) if _metadata(namelookup.in_class(cls, name)).get("config") is True]


def _metadata(trait: Any) -> dict[str, Any]:
    found = namelookup.instance_dict(trait).get("metadata")
    return found if type(found) is dict else {}


def symbols(code: str) -> tuple[int, list[Match]] | None:
    """A symbol by its LaTeX name, `\\alpha`, or its Unicode name, `\\GREEK SMALL LETTER ALPHA`; None if there is none."""
    start = code.rfind("\\")
    name = code[start:]
    if start < 0 or len(name) < 2 or "\n" in name:
        return None
    latex = _latex()
    if name in latex:
        return start, [Match(latex[name], "latex")]
    found = [Match(text, "latex") for text in latex if text.startswith(name)]
    if not found and name.isupper():
        try:
            found = [Match(unicodedata.lookup(name[1:]), "unicode")]
        except KeyError:
            return None
    if not found and len(name) == 2 and not name.isascii():
        found = _names_of(name[1], latex)
    return (start, sorted(found, key=lambda match: match.text)[:_MOST_SYMBOLS]) if found else None


def _latex() -> dict[str, str]:
    """IPython's symbols by their names, where IPython is loaded."""
    if "IPython.core.completer" not in sys.modules:
        return {}
    found = getattr(importlib.import_module("IPython.core.latex_symbols"), "latex_symbols", {})
    return found if type(found) is dict else {}


def _names_of(symbol: str, latex: dict[str, str]) -> list[Match]:
    """The way back: a symbol behind a backslash gives its names."""
    named = unicodedata.name(symbol, "")
    names = [text for text, meant in latex.items() if meant == symbol]
    return [Match(text, "latex") for text in names] or ([Match(f"\\{named}", "unicode")] if named else [])
