"""What stands at the cursor: the source up to it as tokens, open brackets, the open string, the magic line.

Neighbours: `bindings`, `completion`, `columns`, `inspection` (ask it). Refuses to know names and values. Made for code that is
not finished: nothing here raises, and everything after the cursor is left out.
"""

from __future__ import annotations

import ast
import functools
import keyword
import re
import sys
import warnings
from dataclasses import dataclass, field
from typing import Any

MOST_CHARACTERS = 20_000
NAME, NUMBER, STRING, OPEN, CLOSE, OP, END = range(7)
BLOCK_WORDS = {
    "if",
    "elif",
    "else",
    "for",
    "while",
    "with",
    "try",
    "except",
    "finally",
    "def",
    "class",
    "async",
    "match",
    "case",
}
CODE_MAGICS = {"time", "timeit", "prun", "memit", "mprun", "lprun", "capture", "dh_console", "python", "py"}
_FILE = "<dh_kernel question>"
_ATTEMPTS = 5
_CONSTANTS = {"None", "True", "False", "__debug__"}
_CLOSERS = {"(": ")", "[": "]", "{": "}", "f": "}"}
_NESTS_QUOTES = sys.version_info >= (3, 12)

_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\f\r]|\\\r?\n)+|\#[^\n]*)
    |(?P<newline>\n)
    |(?P<string>(?:[rR][bBfFtT]?|[bBfFtT][rR]?|[uU])?(?:\"\"\"|'''|"|'))
    |(?P<name>[^\W\d]\w*)
    |(?P<number>\d[\w.]*|\.\d\w*)
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<op>->|:=|==|!=|<=|>=|\*\*=?|//=?|<<=?|>>=?|[-+*/%&|^@]=|\.\.\.|.)""",
    re.VERBOSE | re.DOTALL,
)
_KINDS = {"name": NAME, "number": NUMBER, "open": OPEN, "close": CLOSE, "op": OP}
UNINDENTED = re.compile(r"\n(?=[^\s#)\]}'\"])")
_LONG_QUOTE = re.compile(r"\"\"\"|'''")
_PLAIN_BODY = {quote: re.compile(rf"(?:[^\\{quote}\n]+|\\.)*", re.DOTALL) for quote in ("'", '"')}
_MAGIC = re.compile(r"[ \t]*(?:(%%?)([^\W\d]?[\w.]*)|(!!?))")
_OPTIONS = re.compile(r"(?:[ \t]+-(?:[nrtpo]\s*\d+|\w+))*")


@dataclass(frozen=True)
class OpenString:
    """A string that the cursor stands in. `start` is where its prefix begins, `content` where its text does."""

    start: int
    content: int
    prefix: str
    quote: str
    token: int

    @property
    def formatted(self) -> bool:
        """Whether it is an f-string (or a template string)."""
        return bool({"f", "t"} & set(self.prefix.lower()))


@dataclass(frozen=True)
class Bracket:
    """An open bracket; `f` is the brace of a field in the f-string `string`. `token` is its index among the tokens."""

    kind: str
    start: int
    token: int
    string: OpenString | None = None


@dataclass(frozen=True)
class MagicLine:
    """The cursor's line where it is for IPython: `sigil` is `%`, `%%`, `!` or `!!`. Positions of its parts."""

    sigil: str
    name: str
    start: int
    arguments: int


@dataclass
class Spot:
    """The source up to the cursor.

    Tokens are (kind, start, end). `cropped` is how many characters were left out at the front; all positions are without them.
    """

    code: str
    cropped: int
    tokens: list[tuple[int, int, int]] = field(default_factory=list)
    partners: dict[int, int] = field(default_factory=dict)
    brackets: list[Bracket] = field(default_factory=list)
    string: OpenString | None = None
    magic: MagicLine | None = None
    comment: bool = False
    foreign: bool = False

    @property
    def cursor(self) -> int:
        """Where the cursor stands: at the end."""
        return len(self.code)

    def text(self, first: int, end: int) -> str:
        """The source of the tokens from `first` up to, without, `end`."""
        return self.code[self.tokens[first][1] : self.tokens[end - 1][2]] if first < end else ""

    def is_op(self, index: int, text: str) -> bool:
        """Whether a token is this operator."""
        return 0 <= index < len(self.tokens) and self.tokens[index][0] == OP and self.text(index, index + 1) == text

    def partial(self) -> str:
        """The name that ends at the cursor, in code."""
        if self.tokens and self.tokens[-1][0] == NAME and self.tokens[-1][2] == self.cursor:
            return self.text(len(self.tokens) - 1, len(self.tokens))
        return ""

    def statement(self) -> int:
        """The index of the first token of the cursor's logical line."""
        return self.line_start(len(self.tokens))

    def line_start(self, end: int) -> int:
        """The index of the first token of the logical line that the token before `end` belongs to."""
        while end > 0 and self.tokens[end - 1][0] != END:
            end -= 1
        return end

    def primary(self, end: int) -> int:
        """Where the expression begins that ends right before token `end`: names, attributes, calls, subscripts; else `end`."""
        index = end
        while index > 0:
            kind = self.tokens[index - 1][0]
            if kind == CLOSE:
                opened = self.partners.get(index - 1)
                if opened is None:
                    return end
                index = opened
                if index > 0 and self._can_be_called(index - 1):
                    continue
                return index
            if kind == NAME:
                if self._is_keyword(index - 1) and not self.is_op(index - 2, "."):
                    return end
            elif kind == STRING:
                while index > 1 and self.tokens[index - 2][0] == STRING:
                    index -= 1
                return index - 1
            elif kind != NUMBER:
                return end
            index -= 1
            if not self.is_op(index - 1, "."):
                return index
            index -= 1
        return end

    def expression(self, first: int, end: int, *, closed: str = "") -> ast.expr | None:
        """The parsed expression of some tokens; `closed` is put behind where they go up to the cursor."""
        if first >= end:
            return None
        text = self.code[self.tokens[first][1] :] + closed if closed else self.text(first, end)
        return parse_expression(text)

    def enclosing(self, bracket: Bracket) -> ast.expr | None:
        """The call or subscript that an open bracket belongs to, closed at the cursor, as if the code ended here."""
        first = self.primary(bracket.token)
        if first >= bracket.token:
            return None
        return parse_expression(self.code[self.tokens[first][1] :] + self.closing(bracket))

    def closing(self, outermost: Bracket) -> str:
        """What closes the open string and all brackets from the innermost up to this one."""
        text = ""
        if self.string is not None:
            backslashes = len(self.code) - len(self.code.rstrip("\\"))
            text = ("\\" if backslashes % 2 else "") + self.string.quote
        for bracket in reversed(self.brackets):
            if bracket.kind == "f" and bracket.string is not None:
                text += "}" + bracket.string.quote
            else:
                text += _CLOSERS[bracket.kind]
            if bracket is outermost:
                break
        return text

    def _can_be_called(self, index: int) -> bool:
        kind = self.tokens[index][0]
        return kind in (CLOSE, STRING) or (kind == NAME and (not self._is_keyword(index) or self.is_op(index - 1, ".")))

    def _is_keyword(self, index: int) -> bool:
        text = self.text(index, index + 1)
        return keyword.iskeyword(text) and text not in _CONSTANTS


def parse_expression(text: str) -> ast.expr | None:
    """An expression of several lines, perhaps; None where it is none."""
    tree = _parse(f"({text}\n)", "eval")
    return tree.body if isinstance(tree, ast.Expression) else None


def parse_statements(text: str) -> list[ast.stmt]:
    """The statements of some source; none where it has a mistake."""
    tree = _parse(text, "exec")
    return tree.body if isinstance(tree, ast.Module) else []


def _parse(text: str, mode: str) -> Any:
    _hush_warnings()
    for _ in range(_ATTEMPTS):
        try:
            return compile(text, _FILE, mode, ast.PyCF_ONLY_AST, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        except SystemError:  # of CPython 3.11, where a parser on another thread came between: they count their depth together
            continue
    return None


@functools.cache
def _hush_warnings() -> None:
    """What is typed half has mistakes that Python warns of: not on the server's standard error."""
    warnings.filterwarnings("ignore", category=SyntaxWarning, module=re.escape(_FILE))


def read(code: str, cursor: int) -> Spot:
    """What stands before the cursor. Of very long code only the part in front of the cursor is read."""
    cursor = max(0, min(cursor, len(code)))
    cropped = _crop(code, cursor)
    spot = Spot(code[cropped:cursor], cropped)
    _Reader(spot).run(cell_magic=_cell_magic(code))
    return spot


def _crop(code: str, cursor: int) -> int:
    """Where to begin: at a line that is not indented, so that most likely it is no continuation, and in no long text."""
    start = cursor - MOST_CHARACTERS
    if start <= 0:
        return 0
    found = UNINDENTED.search(code, start, cursor)
    start = found.end() if found else start
    quote = ""
    for each in _LONG_QUOTE.finditer(code, 0, start):
        quote = each[0] if not quote else "" if quote == each[0] else quote
    end = code.find(quote, start, cursor) if quote else -1
    return end + len(quote) if end >= 0 else start


def _cell_magic(code: str) -> str:
    found = re.compile(r"\s*%%(\w+)").match(code)
    return found[1] if found else ""


class _Reader:
    """Goes once through the source."""

    def __init__(self, spot: Spot) -> None:
        self._spot, self._code, self._at = spot, spot.code, 0

    def run(self, cell_magic: str) -> None:
        """Fill in the spot."""
        spot, code = self._spot, self._code
        spot.foreign = bool(cell_magic) and cell_magic not in CODE_MAGICS
        if not self._magic_line():
            self._maybe_foreign()
        while self._at < len(code) and spot.string is None:
            found = _TOKEN.match(code, self._at)
            assert found is not None  # its last alternative takes any character
            self._at = found.end()
            self._take(str(found.lastgroup), found.start(), found.end())

    def _maybe_foreign(self) -> None:
        if self._spot.foreign and "\n" in self._code:
            self._at = len(self._code)

    def _take(self, kind: str, start: int, end: int) -> None:
        spot = self._spot
        if kind == "space":
            spot.comment = self._code[start] == "#" and end == len(self._code)
        elif kind == "newline":
            self._newline(start)
        elif kind == "string":
            self._string(start, end)
        elif kind == "open":
            spot.brackets.append(Bracket(self._code[start], start, len(spot.tokens)))
            spot.tokens.append((OPEN, start, end))
        elif kind == "close":
            self._close(start)
        else:
            self._other(kind, start, end)

    def _newline(self, start: int) -> None:
        spot = self._spot
        if spot.brackets and spot.brackets[-1].kind == "f" and not _NESTS_QUOTES and len(_quote(spot.brackets[-1])) == 1:
            self._end_of_formatted(start)
        if not spot.brackets:
            self._end_line(start)
            self._magic_line()

    def _end_line(self, start: int) -> None:
        if self._spot.tokens and self._spot.tokens[-1][0] != END:
            self._spot.tokens.append((END, start, start + 1))

    def _other(self, kind: str, start: int, end: int) -> None:
        spot = self._spot
        text = self._code[start:end]
        field_brace = spot.brackets[-1] if spot.brackets and spot.brackets[-1].kind == "f" else None
        if field_brace is not None and text == ":" and not self._in_lambda(field_brace.token):
            spot.brackets.pop()
            assert field_brace.string is not None
            self._body_of_formatted(field_brace.string)
            return
        if text == ";" and not spot.brackets:
            self._end_line(start)
            return
        spot.tokens.append((_KINDS[kind], start, end))
        if text == "=" and not spot.brackets and _ASSIGNED_MAGIC.match(self._code, end):
            self._magic_line()

    def _in_lambda(self, first: int) -> bool:
        words = [self._spot.text(index, index + 1) for index in range(first, len(self._spot.tokens))]
        return "lambda" in words and ":" not in words

    def _close(self, start: int) -> None:
        spot = self._spot
        if not spot.brackets:
            return
        opened = spot.brackets[-1]
        if _CLOSERS[opened.kind] != self._code[start]:
            return
        spot.brackets.pop()
        if opened.kind == "f":
            assert opened.string is not None
            self._body_of_formatted(opened.string)
            return
        spot.partners[len(spot.tokens)] = opened.token
        spot.tokens.append((CLOSE, start, start + 1))

    # --- strings

    def _string(self, start: int, end: int) -> None:
        spot = self._spot
        opening = self._code[start:end]
        quote = opening[-3:] if opening.endswith(('"""', "'''")) else opening[-1]
        if spot.brackets and spot.brackets[-1].kind == "f" and not _NESTS_QUOTES and quote == _quote(spot.brackets[-1]):
            self._end_of_formatted(end)
            return
        string = OpenString(start, end, opening[: len(opening) - len(quote)], quote, len(spot.tokens))
        if string.formatted:
            self._body_of_formatted(string)
        else:
            self._body(string)

    def _body(self, string: OpenString) -> None:
        """Go to the end of a string, or find that it is open."""
        code, quote = self._code, string.quote
        if len(quote) == 3:
            end = string.content
            while True:
                end = code.find(quote, end)
                if end < 0:
                    self._at = len(code)
                    break
                if (end - len(code[string.content : end].rstrip("\\")) - string.content) % 2 == 0:
                    self._at = end
                    break
                end += 1
        else:
            found = _PLAIN_BODY[quote].match(code, string.content)
            assert found is not None
            self._at = found.end()
        self._end_of_string(string)

    def _end_of_string(self, string: OpenString) -> None:
        """The text is over: by its quote, by the end of the code, or, unfinished, by the end of the line."""
        spot = self._spot
        if self._at >= len(self._code) or (self._at == len(self._code) - 1 and self._code[self._at] == "\\"):
            spot.string, self._at = string, len(self._code)
            return
        if self._code.startswith(string.quote, self._at):
            self._at += len(string.quote)
        spot.tokens.append((STRING, string.start, self._at))

    def _body_of_formatted(self, string: OpenString) -> None:
        """Go on in an f-string's text, up to a field, which is code, or to its end."""
        code = self._code
        while self._at < len(code):
            character = code[self._at]
            if (character == "\\" and "r" not in string.prefix.lower()) or code.startswith(("{{", "}}"), self._at):
                self._at += 2
            elif character == "{":
                self._spot.brackets.append(Bracket("f", self._at, len(self._spot.tokens), string))
                self._at += 1
                return
            elif code.startswith(string.quote, self._at) or (character == "\n" and len(string.quote) == 1):
                break
            else:
                self._at += 1
        self._at = min(self._at, len(code))
        self._drop_fields(string)
        self._end_of_string(string)

    def _end_of_formatted(self, end: int) -> None:
        """A field was not finished when its f-string ended."""
        string = self._spot.brackets.pop().string
        assert string is not None
        self._at = end
        self._drop_fields(string)
        self._spot.tokens.append((STRING, string.start, end))

    def _drop_fields(self, string: OpenString) -> None:
        del self._spot.tokens[string.token :]

    # --- what is for IPython

    def _magic_line(self) -> bool:
        """Take a line that begins with `%` or `!`, if this is one; the rest of some is code."""
        found = _MAGIC.match(self._code, self._at)
        if found is None:
            return False
        spot, code = self._spot, self._code
        sigil, name = found[1] or found[3], found[2] or ""
        start = found.start(1) if found[1] else found.start(3)
        line_end = code.find("\n", found.end())
        line_end = len(code) if line_end < 0 else line_end
        self._at = found.end()
        takes_code = name in CODE_MAGICS and found.end() < len(code)
        if sigil == "%%" and spot.foreign and line_end < len(code):
            self._at = len(code)
        elif takes_code and (sigil == "%" or name in ("time", "timeit", "prun")):
            options = _OPTIONS.match(code, self._at)
            self._at = options.end() if options else self._at
            self._end_line(start)
        else:
            self._at = line_end
            if line_end == len(code):
                spot.magic = MagicLine(sigil, name, start, found.end())
            self._end_line(start)
        return True


_ASSIGNED_MAGIC = re.compile(r"[ \t]*(?:%[^\W\d]|!)")


def _quote(bracket: Bracket) -> str:
    assert bracket.string is not None
    return bracket.string.quote
