"""The words of `%dh`: which there are, and what is wrong with others. Pure text.

Neighbours: `dh_magic` (does what the server can do), `dh_kernel.commands` (does what only the kernel can: change the server).
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HELP = """\
%dh                       which server runs the cells, and how it is
%dh tables                the tables among the variables
%dh show TABLE            shows a table, or what an expression gives. Options: --rows N; --columns A,B; --live or --static
%dh grid TABLE            the server's own grid, or its view of another object, in the output. Option: --height PIXELS
%dh live                  the outputs that follow their tables; `%dh live stop`, `%dh live stop NAME` ends that
%dh set                   how tables are shown; `%dh set NAME VALUE` changes it until the kernel ends
%dh restart               a fresh server; where the kernel is attached to one, a fresh session on it without its variables
%dh attach HOST:PORT      run the cells on another server; also dh+tls://HOST:PORT. Options: --key-file FILE or --key-env
                          VARIABLE, where the key is; --auth psk|basic|anonymous|CLASS; --anonymous; --tls; --tls-ca-cert,
                          --tls-client-cert, --tls-client-key FILE; --header NAME=file:FILE; --channel-option NAME=VALUE
%dh detach                back to a server of the kernel's own
%dh reattach              pick up a cell that an attached server goes on with since the connection, or the kernel, was lost;
                          `%dh reattach NAME` where there are several sessions
%dh help                  this
%%dh_console              run the cell as the console does: under the exclusive lock, so that no table ticks meanwhile
"""
WORDS = ("attach", "detach", "grid", "help", "live", "reattach", "restart", "set", "show", "tables")
OF_KERNEL = ("attach", "detach", "reattach", "restart")
_WITH_EXPRESSION = ("grid", "show")
_WITH_ARGUMENTS = ("attach", "live", "reattach", "set")
_FIRST_OPTION = re.compile(r"(?:^|\s)--(?=[a-z])")


class DhUsageError(Exception):
    """The line means nothing; the text says what does."""


def words_of(line: str) -> list[str]:
    """The words of a line behind `%dh`, as a shell splits them; the first is one of `WORDS`.

    Behind `show` and `grid` stands an expression: all that follows is one word, for `expression_of`.

    Raises:
        DhUsageError: with the closest word that there is.
    """
    first, _, rest = line.strip().partition(" ")
    if first in _WITH_EXPRESSION:
        return [first, rest.strip()]
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise DhUsageError(f"%dh: {error}.") from None
    if words and words[0] not in WORDS:
        matches = difflib.get_close_matches(words[0], WORDS, n=1, cutoff=0.5)
        hint = (
            f"Did you mean %dh {matches[0]}?" if matches else f"There are: %dh, {', '.join(f'%dh {word}' for word in WORDS)}."
        )
        raise DhUsageError(f"%dh {words[0]} is not known. {hint}")
    if len(words) > 1 and words[0] not in _WITH_ARGUMENTS:
        raise DhUsageError(f"%dh {words[0]} takes no arguments.")
    return words


@dataclass(frozen=True)
class Expression:
    """An expression, and the options behind it. `live` None: as the settings say; 0 and () mean the same."""

    code: str
    rows: int = 0
    columns: tuple[str, ...] = ()
    live: bool | None = None
    height: int = 0


def expression_of(word: str, text: str) -> Expression:
    """What stands behind `%dh show` or `%dh grid`.

    Raises:
        DhUsageError: there is no expression, or an option that is not known.
    """
    match = _FIRST_OPTION.search(text)
    code, options = (text[: match.start()].strip(), text[match.start() :]) if match else (text.strip(), "")
    if not code:
        raise DhUsageError(f"%dh {word} wants a variable or an expression: write %dh {word} t.")
    try:
        words = [part for each in shlex.split(options) for part in each.split("=", 1)]
    except ValueError as error:
        raise DhUsageError(f"%dh {word}: {error}.") from None
    found: dict[str, Any] = {}
    left = iter(words)
    for option in left:
        name, value = _option(word, option, left)
        found[name] = value
    return Expression(code, **found)


def _option(word: str, option: str, left: Iterator[str]) -> tuple[str, Any]:
    if word == "show" and option in ("--live", "--static"):
        return "live", option == "--live"
    if word == "show" and option == "--columns":
        names = tuple(name.strip() for name in next(left, "").split(",") if name.strip())
        if not names:
            raise DhUsageError("%dh show: --columns wants names, with commas and no spaces between them: --columns A,B.")
        return "columns", names
    if (word, option) in (("show", "--rows"), ("grid", "--height")):
        text = next(left, "")
        if not text.isdecimal() or not 1 <= int(text) <= 10_000:
            raise DhUsageError(f"%dh {word}: {option} wants a whole number between 1 and 10,000, not {text!r}.")
        return option.removeprefix("--"), int(text)
    known = "--rows N, --columns A,B, --live and --static" if word == "show" else "--height PIXELS"
    raise DhUsageError(f"%dh {word}: {option} is not known. There is {known}.")
