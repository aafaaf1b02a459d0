"""How a run ended, and the exit codes that say so."""

from __future__ import annotations

import re
import traceback
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

SUCCESS, ERROR, SERVER, TIMEOUT, DIED = 0, 1, 2, 3, 4
USAGE = 64
INTERRUPTED, HUNG_UP, BROKEN_PIPE, TERMINATED = 130, 129, 141, 143

EXIT_CODES = {
    SUCCESS: "success",
    ERROR: "an error in the code",
    SERVER: "no server, or no connection to it",
    TIMEOUT: "a time limit was reached",
    DIED: "the server, or the kernel, died",
    USAGE: "the command line is wrong",
    INTERRUPTED: "interrupted (SIGINT)",
    HUNG_UP: "ended by SIGHUP",
    BROKEN_PIPE: "nobody reads the output any more",
    TERMINATED: "ended by SIGTERM",
}
"""What each means; `sys.exit(n)` in the code gives n, `sys.exit("text")` prints the text and gives 1."""


_NUMBER = re.compile(r"-?[0-9]{1,4000}")  # of longer ones Python makes no number


class Status(str, Enum):
    """The `status` of the JSON forms."""

    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    EXIT = "exit"
    TIMEOUT = "timeout"
    DIED = "died"


@dataclass(frozen=True)
class Outcome:
    """The end of a run, or of one of its items. `error` has `name`, `value`, `traceback`."""

    status: Status = Status.OK
    exit_code: int = SUCCESS
    error: dict[str, Any] | None = field(default=None)

    @property
    def goes_on(self) -> bool:
        """Whether the next item may run."""
        return self.exit_code == SUCCESS


def of_reply(reply: dict[str, Any]) -> Outcome:
    """The outcome that the content of an `execute_reply` tells."""
    if reply["status"] == "ok":
        return Outcome()
    if reply["status"] != "error":  # aborted
        return Outcome(Status.INTERRUPTED, INTERRUPTED)
    name, value = str(reply["ename"]), str(reply["evalue"])
    error = {"name": name, "value": value, "traceback": [str(line) for line in reply.get("traceback", ())]}
    if reply.get("dh_kernel"):
        died = name == "ServerDiedError"
        return Outcome(Status.DIED if died else Status.ERROR, DIED if died else SERVER, error)
    if name == "SystemExit" or "exit_code" in reply:  # which also exceptions have that are kinds of SystemExit
        return Outcome(Status.EXIT, _exit_code(reply, value))
    if name == "KeyboardInterrupt":
        return Outcome(Status.INTERRUPTED, INTERRUPTED, error)
    return Outcome(Status.ERROR, ERROR, error)


def of_fault(error: BaseException) -> Outcome:
    """The outcome of an exception that should not have come up: with its traceback, since it is a fault of ours."""
    lines = [line.rstrip("\n") for line in traceback.format_exception(error)]
    return Outcome(Status.ERROR, ERROR, {"name": type(error).__name__, "value": str(error), "traceback": lines})


def _exit_code(reply: dict[str, Any], value: str) -> int:
    """As the runtime tells it for a program; of a cell there is only the exception's text."""
    if "exit_code" in reply:
        return int(reply["exit_code"])
    if value in ("", "None"):
        return SUCCESS
    return int(value) & 0xFF if _NUMBER.fullmatch(value) else ERROR
