r"""Characters as people see them: invisible ones written out, width in terminal columns, cutting. Leaf: strings only.

Deephaven's column names may hold any character of a Java identifier, zero-width and bidi controls included, and values hold
anything. Shown raw they would make two different names look alike, or reorder the line; they become `\n`, `\u202e` …
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

ELLIPSIS = "…"

# Controls (Cc), formats (Cf: bidi, zero-width, tags), surrogates, line separators, and what draws nothing in other classes:
# grapheme joiner, Hangul fillers, braille blank, variation selectors but the two that pick an emoji's style.
_INVISIBLE = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ud800-\udfff\ufe00-\ufe0d\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_SHORT_ESCAPES = {"\n": r"\n", "\t": r"\t", "\r": r"\r"}


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    """The text with every invisible character written as a Python escape. One line, no bidi override, no lone surrogate."""
    return _INVISIBLE.sub(_escape, text)


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """The visible text in order, as (piece, is it an escape)."""
    end = 0
    for match in _INVISIBLE.finditer(text):
        if match.start() > end:
            yield text[end : match.start()], False
        yield _escape(match), True
        end = match.end()
    if end < len(text):
        yield text[end:], False


def encodable(text: str) -> str:
    """The text as it is, but lone surrogates, which UTF-8 and JSON cannot carry, written out."""
    return _SURROGATE.sub(_escape, text)


def cut(text: str, characters: int) -> str:
    """At most `characters` of the text, the last one an ellipsis where it was longer."""
    return text if len(text) <= characters else text[: max(characters - 1, 0)] + ELLIPSIS


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def display_width(text: str) -> int:
    """Terminal columns the text takes: East Asian wide characters count two, combining marks none."""
    return len(text) if text.isascii() else sum(map(_character_width, text))


def fit(text: str, width: int) -> str:
    """The visible text, cut to at most `width` terminal columns."""
    # A value may be long; four characters a column leave room for combining marks, which take none.
    shown = visible(text[: 4 * width + 4])
    if display_width(shown) <= width and len(text) <= 4 * width + 4:
        return shown
    room, end = width - 1, 0
    for character in shown:
        room -= _character_width(character)
        if room < 0:
            break
        end += 1
    return shown[:end] + ELLIPSIS


def pad(text: str, width: int, *, right: bool) -> str:
    """Fill with spaces to `width` terminal columns; `right` aligns to the right."""
    fill = " " * (width - display_width(text))
    return fill + text if right else text + fill
