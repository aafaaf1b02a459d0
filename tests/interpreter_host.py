"""A process that holds one interpreter of the runtime, `plain` or `ipython`, and runs cells that come as lines of JSON.

A process of its own, since IPython's shell is one per process and changes it, and since a crash must be a failed test.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class Ran:
    """What a cell did. `results` are bundles: data and metadata."""

    assigned: list[str]
    error: dict[str, Any] | None
    payload: list[dict[str, Any]]
    results: list[tuple[dict[str, Any], dict[str, Any]]]
    stdout: str

    @property
    def text(self) -> str | None:
        """The one result as text, None if there was none."""
        assert self.error is None, self.error
        assert len(self.results) <= 1
        return str(self.results[0][0]["text/plain"]) if self.results else None

    @property
    def traceback(self) -> str:
        """The error's traceback without colours."""
        assert self.error is not None
        return without_colours("\n".join(self.error["traceback"]))


def without_colours(text: str) -> str:
    """Text without the terminal's colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


class Host:
    """The parent's side."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self._count = 0
        self._folder = folder
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, self.kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "IPYTHONDIR": str(self._folder), "PYTHONWARNINGS": ""},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("{}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline(), "the interpreter does not start"

    def run(self, code: str, *, silent: bool = False, store: bool = True, count: int | None = None) -> Ran:
        """Run one cell."""
        self._count += 1
        asked = {"do": "run", "code": code, "count": count or self._count, "silent": silent, "store": store}
        return Ran(**self._ask(asked))

    def expressions(self, **expressions: str) -> dict[str, Any]:
        """The values of user expressions."""
        found: dict[str, Any] = self._ask({"do": "expressions", "expressions": expressions})
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(20)

    def _ask(self, message: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:  # one failed test, not all that follow
            self.close()
            code = self._process.returncode
            self._start()
            raise AssertionError(f"an exception came out of the interpreter, or it crashed: exit code {code}")
        return json.loads(answer)


class _Table:
    """Stands for deephaven's table class."""


@dataclass
class Request:
    """Stands for a cell."""

    count: int
    silent: bool
    cell_meta: dict[str, Any] = field(default_factory=dict)

    def compiled(self, file: str) -> None:
        """Nobody asks."""


def main(kind: str) -> None:
    """The child's side."""
    import asyncio
    import contextlib
    import io

    sys.path.insert(0, ROOT)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    import dh_kernel.runtime as runtime

    own_files = (f"<{runtime.__name__}>", str(runtime.__file__).rpartition("__init__")[0], __file__)
    namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
    interpreter: Any
    if kind == "plain":
        from dh_kernel.runtime.interpreter import PlainInterpreter

        interpreter = PlainInterpreter(namespace, "host", own_files)
    else:
        from dh_kernel.runtime.ipython_shell import IPythonInterpreter

        def is_table(value: object) -> bool:
            return isinstance(value, _Table)

        interpreter = IPythonInterpreter(namespace, own_files, is_table, lambda value, bundle: bundle)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    for line in sys.stdin:
        message = json.loads(line)
        answer: Any = {"kind": kind}
        if message.get("do") == "run":
            results: list[Any] = []
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                running = interpreter.run(
                    message["code"],
                    Request(message["count"], message["silent"]),
                    store=message["store"],
                    on_result=lambda value: results.append(interpreter.bundle(value)),  # noqa: B023
                )
                did = loop.run_until_complete(running)
            answer = {
                "assigned": list(did.assigned),
                "error": did.error,
                "payload": did.payload,
                "results": results,
                "stdout": printed.getvalue(),
            }
        elif message.get("do") == "expressions":
            answer = interpreter.expressions(message["expressions"])
        answers.write(json.dumps(answer, default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
