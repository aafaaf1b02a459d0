"""The words of `%dh`: which there are, and what is wrong with others. Pure text.

Neighbours: `dh_magic` (does what the server can do), `dh_kernel.commands` (does what only the kernel can: change the server).
"""

from __future__ import annotations

import difflib
import shlex

HELP = """\
%dh                       which server runs the cells, and how it is
%dh tables                the tables among the variables
%dh restart               a fresh server; where the kernel is attached to one, a fresh session on it
%dh attach HOST:PORT      run the cells on another server. Options: --key-file FILE or --key-env VARIABLE, where the key is;
                          --auth psk|basic|anonymous|CLASS; --anonymous
%dh detach                back to a server of the kernel's own
%dh help                  this
%%dh_console              run the cell as the console does: under the exclusive lock, so that no table ticks meanwhile
"""
WORDS = ("attach", "detach", "help", "restart", "tables")
OF_KERNEL = ("attach", "detach", "restart")


class DhUsageError(Exception):
    """The line means nothing; the text says what does."""


def words_of(line: str) -> list[str]:
    """The words of a line behind `%dh`, as a shell splits them; the first is one of `WORDS`.

    Raises:
        DhUsageError: with the closest word that there is.
    """
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
    if len(words) > 1 and words[0] != "attach":
        raise DhUsageError(f"%dh {words[0]} takes no arguments.")
    return words
