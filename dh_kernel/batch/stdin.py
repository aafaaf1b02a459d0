"""This process's standard input, read on threads that may be left behind when the run ends.

Neighbours: `conversation` (answers the code's questions from here), `runner` (a script that comes this way). Refuses to know
the kernel.

By its descriptor: a thread that waits in `sys.stdin` holds the lock of its buffer, without which Python cannot end.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import select
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

END_OF_FILE = "\x04"
_CHUNK = 1 << 16


@dataclass(frozen=True, eq=False)
class Question:
    """What the code asks for: a line, or with `piece` at most so many bytes."""

    prompt: str = ""
    password: bool = False
    piece: int = 0


class StandardInput:
    """One a run. Its threads wait for one another."""

    def __init__(self) -> None:
        self._left = b""
        self._turn = threading.Lock()
        self._latest: Question | None = None
        self._silenced: tuple[int, list[Any]] | None = None

    def ask(self, question: Question, answer: Callable[[str], None]) -> None:
        """Call `answer`, on a thread, with a line without its end, with a piece in base64, or with `END_OF_FILE`.

        What comes for a question that another one has followed is for that other one: the code has given the first one up.
        """
        self._latest = question
        self._begin(self._answer, question, answer)

    async def everything(self) -> bytes:
        """All of it, to its end."""
        loop = asyncio.get_running_loop()
        whole: asyncio.Future[bytes] = loop.create_future()

        def settle(data: bytes) -> None:
            if not whole.done():
                whole.set_result(data)

        def read() -> None:
            parts = list(iter(self._more, b""))
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, b"".join(parts))

        self._begin(read)
        return await whole

    def close(self) -> None:
        """Give the terminal back as it was: a thread that waits for a password will not."""
        if self._silenced is not None:
            descriptor, attributes = self._silenced
            self._silenced = None
            with contextlib.suppress(termios.error):
                termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)

    # --- on the threads

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=work, args=arguments, name="dh-run-stdin", daemon=True).start()

    def _answer(self, question: Question, answer: Callable[[str], None]) -> None:
        with self._turn:
            if question.password and _is_terminal():
                answer(self._password(question.prompt))
                return
            data = self._piece(question.piece) if question.piece else self._line()
            if question is not self._latest:
                self._left = data + self._left
                return
        if not data:
            answer(END_OF_FILE)
        elif question.piece:
            answer(base64.b64encode(data).decode("ascii"))
        else:
            answer(data.decode("utf-8", "replace").rstrip("\n"))

    def _line(self) -> bytes:
        parts = [self._left]
        while b"\n" not in parts[-1]:
            more = self._more()
            if not more:
                break
            parts.append(more)
        line, newline, self._left = b"".join(parts).partition(b"\n")
        return line + newline

    def _piece(self, most: int) -> bytes:
        """What there is: it waits for the first byte only."""
        data, self._left = self._left[:most], self._left[most:]
        while len(data) < most and (not data or self._has_more()):
            more = self._more(most - len(data))
            if not more:
                break
            data += more
        return data

    @staticmethod
    def _more(most: int = _CHUNK) -> bytes:
        """Nothing at its end, and where it is closed or there is none."""
        try:
            descriptor = sys.stdin.fileno()
            while True:
                try:
                    return os.read(descriptor, most)
                except BlockingIOError:  # whoever started us has made it so
                    select.select([descriptor], [], [])
        except (OSError, ValueError, AttributeError):
            return b""

    @staticmethod
    def _has_more() -> bool:
        return bool(select.select([sys.stdin.fileno()], [], [], 0)[0])

    def _password(self, prompt: str) -> str:
        """A line of the terminal, which shows none of it. `getpass` reads `sys.stdin` where there is no `/dev/tty`."""
        with _terminal() as descriptor:
            attributes = termios.tcgetattr(descriptor)
            self._silenced = (descriptor, [*attributes])
            attributes[3] &= ~termios.ECHO
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, attributes)
            try:
                os.write(descriptor, prompt.encode("utf-8", "backslashreplace"))
                line = b""
                while not line.endswith(b"\n"):
                    more = os.read(descriptor, 1)
                    if not more:
                        break
                    line += more
                os.write(descriptor, b"\n")
            finally:
                self.close()
        return line.decode("utf-8", "replace").rstrip("\n") if line else END_OF_FILE


def _is_terminal() -> bool:
    try:
        return os.isatty(sys.stdin.fileno())
    except (OSError, ValueError, AttributeError):
        return False


@contextlib.contextmanager
def _terminal() -> Iterator[int]:
    """A descriptor of the terminal, for reading and writing; the standard input's own where that is no terminal of ours."""
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        yield sys.stdin.fileno()
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
