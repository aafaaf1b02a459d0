"""Completion on the live namespace: what can stand at the cursor, by what stands before it.

Neighbours: `source` (reads the code), `inference`, `namelookup`, `columns`, `paths`, `magic_completion` and, last,
`jedi_names`. It runs nothing of the user's, and asks the file system and jedi only where nothing else tells.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import sys
from collections.abc import Iterable
from typing import Any

from . import columns, jedi_names, magic_completion, namelookup, paths, signatures
from .bindings import Bindings, names_in_expression
from .inference import Defined, Inference, Known, Made, Result, shape_of
from .magic_completion import Shell
from .matches import MOST_DESCRIBED, MOST_MATCHES, Found, Match, ordered, reply
from .namelookup import MISSING
from .source import CLOSE, NAME, NUMBER, OPEN, STRING, UNINDENTED, Bracket, Spot, read

_SOFT_WORDS = ("match", "case", "type", "_")
_IMPORT = re.compile(r"import\s+(?:.*,\s*)?([\w.]*)$", re.DOTALL)
_FROM = re.compile(r"from\s+([\w.]*)$")
_FROM_WORD = re.compile(r"from\s+[\w.]+\s+(\w*)$")
_FROM_NAMES = re.compile(r"from\s+([\w.]+)\s+import\s*(?:\(\s*)?(?:[\w\s,]*,\s*)?(\w*)$", re.DOTALL)
_PATHLIKE = re.compile(r"[^\n]{0,4000}$")


def complete(namespace: dict[str, Any], code: str, cursor: int, shell: Any, names: Iterable[str]) -> dict[str, Any]:
    """Jupyter's `complete_reply` content; positions in code points.

    Args:
        shell: IPython's, None without one.
        names: magics that there are without a shell, with their `%`.
    """
    spot = read(code, cursor)
    question = _Question(namespace, spot, code[cursor : cursor + 500], Shell(shell, names))
    return reply(question.answer(), max(0, min(cursor, len(code))), spot.cropped)


class _Question:
    """One completion. Each method answers for one kind of place, or says None if it is another."""

    def __init__(self, namespace: dict[str, Any], spot: Spot, rest: str, shell: Shell) -> None:
        self._namespace, self._spot, self._rest, self._shell = namespace, spot, rest, shell
        self._known = Inference(namespace, Bindings(spot))

    def answer(self) -> Found | None:
        """The matches at the cursor."""
        spot = self._spot
        symbol = magic_completion.symbols(spot.code[-80:]) if spot.string is None or not _ends_escaped(spot) else None
        if symbol is not None:
            return Found(symbol[0] + max(0, len(spot.code) - 80), symbol[1])
        if spot.comment:
            return None
        if spot.magic is not None:
            return self._on_magic_line()
        if spot.foreign:
            start = len(spot.code) - len(re.split(r"[\s'\"=]", spot.code)[-1])
            return Found(start, paths.paths(spot.code[start:], escaped=True))
        if spot.string is not None:
            return self._in_string()
        return self._in_import() or self._attribute() or self._name()

    # --- magics and strings

    def _on_magic_line(self) -> Found:
        spot, line = self._spot, self._spot.magic
        assert line is not None
        if line.arguments == len(spot.code) and not line.sigil.startswith("!"):
            first = not spot.code[: line.start].strip() and not spot.cropped
            found = magic_completion.magic_names(self._shell, line.sigil, line.name, first_line=first)
            return Found(line.start, ordered(found))
        return Found(*magic_completion.arguments(self._shell, self._namespace, spot, line))

    def _in_string(self) -> Found | None:
        spot = self._spot
        assert spot.string is not None
        return self._key() or columns.complete(spot, self._known, self._namespace) or self._path(spot.string.content)

    def _path(self, start: int) -> Found | None:
        typed = self._spot.code[start:]
        return Found(start, paths.paths(typed)) if _PATHLIKE.fullmatch(typed) else None

    def _key(self) -> Found | None:
        """A key of a dictionary, or a column of a frame: `d["`."""
        brackets, string = self._spot.brackets, self._spot.string
        if not brackets or brackets[-1].kind != "[" or string is None or string.formatted:
            return None
        keys = self._keys(brackets[-1]) if string.token == brackets[-1].token + 1 else None
        if keys is None and len(brackets) > 1 and brackets[-2].kind == "[" and brackets[-1].token == brackets[-2].token + 1:
            keys = self._keys(brackets[-2])  # several columns of a frame: `df[["`
        if keys is None:
            return None
        typed = self._spot.code[string.content :]
        quote = string.quote[0]
        kind = bytes if "b" in string.prefix.lower() else str
        raw = "r" in string.prefix.lower()
        texts = [_quoted(key, quote, raw=raw) for key in keys if type(key) is kind]
        found = [Match(text, "dict key") for text in dict.fromkeys(texts) if text.startswith(typed)]
        return Found(string.content, found[:MOST_MATCHES])

    def _keys(self, bracket: Bracket) -> list[Any] | None:
        """The keys that can stand in a subscript, None if it is none, or of something else."""
        first = self._spot.primary(bracket.token)
        owner = self._known.evaluate(self._spot.expression(first, bracket.token))
        if isinstance(owner, Made) and isinstance(owner.node, ast.Dict):
            return self._known.keys(owner)
        if isinstance(owner, Known) and (namelookup.is_a(owner.value, dict) or namelookup.frame_columns(owner.value)):
            return self._known.keys(owner)
        return None

    # --- imports

    def _in_import(self) -> Found | None:
        spot = self._spot
        first = spot.statement()
        if first >= len(spot.tokens) or spot.text(first, first + 1) not in ("import", "from"):
            return None
        text = spot.code[spot.tokens[first][1] :]
        if re.search(r"\bas\s+\w*$", text):
            return Found(spot.cursor, [])
        if (found := _FROM_NAMES.match(text)) is not None:
            return self._found(found[2], self._names_of_module(found[1]))
        if (found := _FROM.match(text) or _IMPORT.match(text)) is not None:
            return self._found(found[1].rpartition(".")[2], self._modules(found[1]))
        if (found := _FROM_WORD.match(text)) is not None:
            return self._found(found[1], [Match("import", "keyword")])
        return None

    def _found(self, partial: str, candidates: Iterable[Match]) -> Found:
        matches = [match for match in candidates if match.text.startswith(partial)]
        return Found(self._spot.cursor - len(partial), ordered(matches))

    def _modules(self, dotted: str) -> list[Match]:
        package, dot, _ = dotted.rpartition(".")
        if not dot:
            return [Match(name, "module") for name in [*paths.modules(), *_loaded("")]]
        found = [Match(name, "module") for name in [*paths.submodules(package), *_loaded(f"{package}.")]]
        module = sys.modules.get(package)
        names = namelookup.attribute_names(module) if module is not None else []
        return found + [Match(name, "module") for name in names if self._is_module(module, name)]

    @staticmethod
    def _is_module(module: Any, name: str) -> bool:
        return namelookup.is_a(namelookup.attribute(module, name), type(sys))

    def _names_of_module(self, dotted: str) -> list[Match]:
        module = sys.modules.get(dotted)
        inside = [Match(name, "module") for name in [*paths.submodules(dotted), *_loaded(f"{dotted}.")]]
        if module is not None:
            return [*self._described(Known(module), namelookup.attribute_names(module)), *inside]
        return [*inside, *(Match(name, "instance") for name in paths.names_in_source(dotted))]

    # --- names

    def _attribute(self) -> Found | None:
        spot, partial = self._spot, self._spot.partial()
        dot = len(spot.tokens) - (2 if partial else 1)
        if not spot.is_op(dot, "."):
            return None
        first = spot.primary(dot)
        receiver = self._known.evaluate(spot.expression(first, dot))
        found = [match for match in self._attributes(receiver) if match.text.startswith(partial)]
        if not found or isinstance(receiver, Defined):
            found += [match for match in self._by_jedi() if match.text.startswith(partial)]
        if not partial:
            found = [match for match in found if not match.text.startswith("__")] or found
        return Found(spot.cursor - len(partial), ordered(found))

    def _attributes(self, receiver: Result) -> list[Match]:
        table = shape_of(receiver) if not isinstance(receiver, Known) else None
        if table is not None:
            module = sys.modules.get("deephaven.table")
            cls = namelookup.attribute(module, table.kind) if module is not None else MISSING
            receiver = Made(cls) if namelookup.is_a(cls, type) else None
        if isinstance(receiver, Known):
            return self._described(receiver, namelookup.attribute_names(receiver.value))
        if isinstance(receiver, Made):
            return self._described(receiver, namelookup.instance_names(receiver.cls))
        return []

    def _described(self, owner: Known | Made, names: list[str]) -> list[Match]:
        """Names with their kinds: of those that begin as the cursor's does, and of the first of them only."""
        partial = self._spot.partial()
        wanted = [name for name in names if name.startswith(partial)]
        found: list[Match] = []
        for name in wanted:
            full = len(found) < MOST_DESCRIBED
            if isinstance(owner, Known):
                value = namelookup.attribute(owner.value, name)
            else:
                value = namelookup.attribute_of_instances(owner.cls, name)
            found.append(_match(name, value, described=full))
        return found

    def _name(self) -> Found | None:
        spot, partial = self._spot, self._spot.partial()
        before = len(spot.tokens) - bool(partial)
        if spot.tokens and spot.tokens[-1][2] == spot.cursor and not partial and spot.tokens[-1][0] in (NUMBER, STRING, CLOSE):
            return None  # right behind a number, a string or a bracket
        if before > 0 and spot.text(before - 1, before) in ("def", "class"):
            return None
        found = [*self._keywords(), *self._subscript_keys()]
        found += self._names(partial)
        at_start = before == spot.statement()
        if at_start and partial:
            first_line = not spot.code[: spot.cursor - len(partial)].strip() and not spot.cropped
            taken = [match.text for match in found]
            found += magic_completion.bare_magics(self._shell, partial, taken, first_line=first_line)
        if not found:
            found = [match for match in self._by_jedi() if match.text.startswith(partial)]
        return Found(spot.cursor - len(partial), ordered(found))

    def _names(self, partial: str) -> list[Match]:
        bound = self._known.bound.names(partial) if self._known.bound is not None else []
        local = dict.fromkeys([*bound, *names_in_expression(self._spot)])
        found = [self._local(name) for name in local if name.startswith(partial)]
        taken = {match.text for match in found}
        for mapping in (self._namespace, vars(builtins)):
            wanted = [name for name in namelookup.names_in(mapping) if name.startswith(partial) and name not in taken]
            for name in wanted:
                value = namelookup.global_of(mapping, name)
                found.append(_match(name, value, described=len(found) < MOST_DESCRIBED))
            taken.update(wanted)
        words = [*keyword.kwlist, *_SOFT_WORDS[:3]]
        return found + [Match(word, "keyword") for word in words if word.startswith(partial) and word not in taken]

    def _local(self, name: str) -> Match:
        value = self._known.named(name)
        if isinstance(value, Known):
            return _match(name, value.value, described=True)
        if isinstance(value, Defined):
            return Match(name, "class" if isinstance(value.node, ast.ClassDef) else "function")
        return Match(name, "instance")

    def _keywords(self) -> list[Match]:
        """`name=` for the parameters of the function whose argument begins here."""
        spot, partial = self._spot, self._spot.partial()
        before = len(spot.tokens) - bool(partial)
        bracket = spot.brackets[-1] if spot.brackets else None
        if bracket is None or bracket.kind != "(" or not (before - 1 == bracket.token or spot.is_op(before - 1, ",")):
            return []
        first = spot.primary(bracket.token)
        if first == bracket.token:
            return []
        given = _given_keywords(spot, bracket)
        function = self._known.evaluate(spot.expression(first, bracket.token))
        names = _parameter_names(function)
        if function is None:
            return [match for match in self._by_jedi() if match.text.endswith("=") and match.text[:-1] not in given]
        follows = self._rest.lstrip(" ").startswith("=") and not self._rest.lstrip(" ").startswith("==")
        wanted = [name for name in names if name.startswith(partial) and name not in given]
        return [Match(name if follows else f"{name}=", "param") for name in wanted]

    def _subscript_keys(self) -> list[Match]:
        """The keys with their quotes, where a subscript has just begun: `d[`."""
        spot = self._spot
        bracket = spot.brackets[-1] if spot.brackets else None
        if bracket is None or bracket.kind != "[" or len(spot.tokens) - bool(spot.partial()) - 1 != bracket.token:
            return []
        keys = self._keys(bracket) or []
        plain = [key for key in keys if namelookup.one_of(type(key), (str, bytes, int, float, bool))]
        return [Match(text, "dict key") for text in map(repr, plain) if text.startswith(spot.partial())]

    def _by_jedi(self) -> list[Match]:
        first = _jedi_start(self._spot)
        found = jedi_names.complete(self._namespace, _without_magics(self._spot, first))
        partial = self._spot.partial()
        return [Match(name.name, name.kind) for name in found if name.name.startswith(partial)]


def _match(name: str, value: Any, *, described: bool) -> Match:
    if value is MISSING:
        return Match(name, "instance")
    kind = namelookup.kind_of(value)
    wanted = described and kind in ("function", "class")
    return Match(name, kind, signatures.signature_text(value) if wanted else "")


def _loaded(prefix: str) -> list[str]:
    """The modules that are loaded right below a package."""
    names = [name[len(prefix) :] for name in namelookup.names_in(sys.modules) if name.startswith(prefix)]
    return [name for name in names if name.isidentifier()]


def _ends_escaped(spot: Spot) -> bool:
    """Whether a backslash in a string is more likely the string's own than a symbol's: it always is but in plain text."""
    return spot.string is not None and "r" in spot.string.prefix.lower()


def _quoted(key: str | bytes, quote: str, *, raw: bool) -> str:
    text = key if isinstance(key, str) else key.decode("latin-1")
    if raw:
        return text
    shown = repr(key).lstrip("b")
    inside = shown[1:-1]
    if shown[0] != quote:
        inside = inside.replace(f"\\{shown[0]}", shown[0]).replace(quote, f"\\{quote}")
    return inside


def _given_keywords(spot: Spot, bracket: Bracket) -> set[str]:
    """The arguments that the call has by name already, before the cursor."""
    found: set[str] = set()
    depth = 0
    for index in range(bracket.token + 1, len(spot.tokens)):
        kind = spot.tokens[index][0]
        depth += (kind == OPEN) - (kind == CLOSE)
        if depth == 0 and kind == NAME and spot.is_op(index + 1, "="):
            found.add(spot.text(index, index + 1))
    return found


def _parameter_names(function: Result) -> list[str]:
    if isinstance(function, Known):
        return signatures.keyword_names(function.value)
    node = function.node if isinstance(function, Defined) else None
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [each.arg for each in (*node.args.args, *node.args.kwonlyargs)]
    return []


def _jedi_start(spot: Spot) -> int:
    """Where to begin so that jedi does not get too much: at a line that is not indented."""
    start = max(0, len(spot.code) - jedi_names.MOST_CHARACTERS)
    if start == 0:
        return 0
    found = UNINDENTED.search(spot.code, start)
    return found.end() if found else start


def _without_magics(spot: Spot, first: int) -> str:
    """The code for jedi, in which lines for IPython are comments, and magics with code are left out."""
    code = re.sub(
        r"^([ \t]*)%%?(?:time|timeit|prun|capture)\b(?:[ \t]+-\w+)*[ \t]*", r"\1", spot.code[first:], flags=re.MULTILINE
    )
    return re.sub(r"^([ \t]*)[%!]", r"\1#", code, flags=re.MULTILINE)
