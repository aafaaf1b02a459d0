"""Why a server ended, in words for users. Pure."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable

from dh_kernel.model import Death

from .options import LaunchOptions

SHOWN_LINES = 12
# Frames of Java's traces; what a JVM that crashed says to its vendor rather than to the user; what every start logs.
_NOISE = re.compile(
    r"\s+at \S+\(|\s+\.\.\. \d+ (more|common)|#\s*$|#.*(core dump|error report file|hs_err|bug report|bug\.|https?://)"
    r"|\d+ compiler directives added|# Starting io\.|# io\.deephaven\.|deephaven\.\w+Dir=|Server started on port"
    r"|# (The crash happened|See problematic frame)|\[thread \d+ also had an error"
)
_CRASH = re.compile(r"#\s+(SIG[A-Z]+) \(0x")
# With what Java begins to tell of its own end, on the stdout that users' code writes to as well.
_REPORT = re.compile(
    r"(^#\n)?^# A fatal error has been detected by the Java Runtime Environment|"
    r"Terminating due to java\.lang\.OutOfMemoryError",
    re.MULTILINE,
)
_MEANINGS = {
    "SIGKILL": "killed; the machine may have run out of memory",
    "SIGSEGV": "a crash in native code",
    "SIGBUS": "a crash in native code, or a full disk",
    "SIGABRT": "it aborted itself, usually after a crash in native code",
    "SIGILL": "a crash in native code",
    "SIGFPE": "a crash in native code",
    "SIGTERM": "ended from outside",
    "SIGHUP": "ended from outside",
    "SIGINT": "interrupted from outside",
}


def describe(death: Death, options: LaunchOptions) -> str:
    """How a server ended, what to try next, and the last lines of its log."""
    text = f"The Deephaven server ended: {_cause(death)}."
    if death.out_of_memory:
        text += f" Its heap of {options.heap} was full: set DH_KERNEL_HEAP to more (such as 8g), or hold fewer rows in memory."
    elif _signal_name(death.signal) == "SIGKILL":
        text += f" Its heap may grow to {options.heap}: set DH_KERNEL_HEAP to less where the machine has too little memory."
    lines = death.last_lines[-SHOWN_LINES:]
    if lines:
        text += "\nThe last lines of its log:\n" + "\n".join(f"  {line}" for line in lines)
    return text


def without_report(text: str) -> str:
    """What a server wrote, up to where Java reports its end: that is told by `describe`."""
    report = _REPORT.search(text)
    return text if report is None else text[: report.start()]


def telling(lines: Iterable[str]) -> tuple[str, ...]:
    """The lines of a server's log that say why it ended, without those that never do."""
    return tuple(line for line in lines if not _NOISE.match(line))


def _cause(death: Death) -> str:
    if death.signal is not None:
        name = _signal_name(death.signal)
        crash = next(filter(None, map(_CRASH.match, death.last_lines)), None)
        if crash is not None and name == "SIGABRT":  # so does Java end itself, once it has told of the crash
            return f"signal {crash[1]} ({_MEANINGS.get(crash[1], 'a crash in native code')})"
        meaning = _MEANINGS.get(name)
        return f"signal {name} ({meaning})" if meaning else f"signal {name}"
    if death.out_of_memory:
        return f"out of memory (exit code {death.exit_code})"
    if death.exit_code is None:
        return "its exit code is not known, since the keeper of spare servers was killed"
    return f"exit code {death.exit_code}"


def _signal_name(number: int | None) -> str:
    if number is None:
        return ""
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
