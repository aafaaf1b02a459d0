"""Tracebacks as a notebook shows them: the cell's own lines, none of ours.

Neighbours: `interpreter` (runs cells under these file names). Source: the standard library's `traceback` and `linecache`.
"""

from __future__ import annotations

import linecache
import re
import traceback
from types import TracebackType

_FILE = re.compile(r"<(Cell In\[\d+\])(?: \w+)?>")
_FRAME = re.compile(r'File "<(Cell In\[\d+\])(?: \w+)?>", line (\d+)(?:, in <module>)?')


def cell_file_name(count: int, session_id: str) -> str:
    """The file name under which a cell is compiled: unique on the server, shown as `Cell In[3]`."""
    return f"<Cell In[{count}] {session_id}>"


def remember_source(file_name: str, source: str) -> None:
    """Make a cell's lines known to tracebacks, `inspect` and debuggers; no time stamp, so that it is never dropped."""
    linecache.cache[file_name] = (len(source), None, source.splitlines(keepends=True), file_name)


def format_error(error: BaseException, own_files: tuple[str, ...]) -> list[str]:
    """The traceback as lines of text, without leading frames of the runtime.

    Args:
        own_files: prefixes of file names whose frames are left out, wherever they stand.
    """
    try:
        shown = traceback.TracebackException(type(error), error, error.__traceback__, compact=True)
        _strip(shown, own_files, set())
        text = "".join(shown.format())
    except Exception as failure:  # an exception whose own methods raise
        text = f"{type(error).__name__}: <the traceback could not be formatted: {type(failure).__name__}>\n"
    return _FRAME.sub(_short, text).rstrip("\n").split("\n")


def safe_text(error: BaseException) -> str:
    """`str` of an exception, also if that raises."""
    try:
        return _FILE.sub(r"\1", str(error))
    except Exception as failure:
        return f"<str() of the {type(error).__name__} raised {type(failure).__name__}>"


def _short(match: re.Match[str]) -> str:
    return f"{match[1]}, line {match[2]}"


def without_own_frames(tb: TracebackType | None, own_files: tuple[str, ...]) -> TracebackType | None:
    """The traceback with the runtime's frames taken out, at its start and in between, and without a debugger's at its end."""
    kept: list[TracebackType] = []
    while tb is not None and not _is_debuggers(tb):
        if not tb.tb_frame.f_code.co_filename.startswith(own_files):
            kept.append(tb)
        tb = tb.tb_next
    if tb is not None and len(kept) > 1 and kept[-1].tb_frame is kept[-2].tb_frame:
        kept.pop()  # the same line again, where the debugger was called
    for outer, inner in zip(kept, [*kept[1:], None], strict=True):
        outer.tb_next = inner
    return kept[0] if kept else None


def _is_debuggers(tb: TracebackType) -> bool:
    """Whether the frame is debugpy's: an interrupt has ended a stop at a breakpoint."""
    return str(tb.tb_frame.f_globals.get("__name__", "")).startswith(("_pydevd_bundle", "pydevd"))


def _strip(shown: traceback.TracebackException, own_files: tuple[str, ...], seen: set[int]) -> None:
    if id(shown) in seen:
        return
    seen.add(id(shown))
    shown.stack = traceback.StackSummary.from_list(
        [frame for frame in shown.stack if not frame.filename.startswith(own_files)]
    )
    for linked in (shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or ())):
        if linked is not None:
            _strip(linked, own_files, seen)
