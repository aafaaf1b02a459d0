"""Programs that cells start with `!`, `%%bash` and the like where there is no IPython: their output is the cell's.

Neighbours: `plain_magics`, `ipython_names`. An interrupt of the cell interrupts the program, on whatever thread the cell runs.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

_LOOK_EVERY_S = 0.05  # how long a wait may last before Python gets a chance to deliver an interrupt
_GRACE_S = 2.0
_EXPANDED = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|\$\$|\$([A-Za-z_]\w*)")
_ENVIRONMENT = {"PAGER": "cat", "GIT_PAGER": "cat"}


def system(command: str, namespace: dict[str, Any]) -> None:
    """`!command`: run it by the shell; its exit code is `_exit_code`."""
    command = expanded(command, namespace)
    if command.rstrip().endswith("&"):
        raise OSError("Background processes not supported.")
    namespace["_exit_code"] = _run(command, None, lambda text: print(text, end=""))


def getoutput(command: str, namespace: dict[str, Any]) -> list[str]:
    """`x = !command`: the lines that it writes."""
    parts: list[str] = []
    namespace["_exit_code"] = _run(expanded(command, namespace), None, parts.append)
    return "".join(parts).splitlines()


def run_script(arguments: list[str], text: str) -> None:
    """Give a program a text to read, as `%%bash` does.

    Raises:
        CalledProcessError: it has failed.
    """
    if not arguments:
        raise ValueError("%%script wants the name of a program.")
    code = _run(arguments, text, lambda part: print(part, end=""))
    if code:
        raise subprocess.CalledProcessError(code, arguments)


def pip(line: str, namespace: dict[str, Any]) -> None:
    """Run pip for the server's Python."""
    namespace["_exit_code"] = _run(f'"{sys.executable}" -m pip {line}', None, lambda text: print(text, end=""))
    if line.split()[:1] in (["install"], ["uninstall"]):
        print("Note: packages that the server has imported already change when it is restarted.")


def expanded(command: str, namespace: dict[str, Any]) -> str:
    """The command with `{expression}` and `$name` replaced by values; as it is where that fails, since it may be a shell's."""

    def value(match: re.Match[str]) -> str:
        if match[0] in ("{{", "}}", "$$"):
            return match[0][0]
        if match[2] is not None:
            return str(namespace[match[2]]) if match[2] in namespace else match[0]
        return str(eval(match[1], namespace))

    try:
        return _EXPANDED.sub(value, command)
    except Exception:
        return command


def _run(command: str | list[str], text: str | None, write: Callable[[str], object]) -> int:
    """Run a program to its end; its exit code, negative for a signal."""
    process = subprocess.Popen(
        command,
        shell=isinstance(command, str),
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={**os.environ, **_ENVIRONMENT},
    )
    try:
        _exchange(process, (text or "").encode(), write)
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(_LOOK_EVERY_S)
    except BaseException:
        _end(process)
        raise
    finally:
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _exchange(process: subprocess.Popen[bytes], unsent: bytes, write: Callable[[str], object]) -> None:
    """Feed the program and take what it writes, until it writes no more."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    assert process.stdout is not None
    output = process.stdout.fileno()
    while True:
        inputs = [process.stdin] if process.stdin is not None and not process.stdin.closed else []
        readable, writable, _ = select.select([output], inputs, [], _LOOK_EVERY_S)
        if writable and process.stdin is not None:
            try:
                unsent = unsent[os.write(process.stdin.fileno(), unsent[:4096]) :] if unsent else unsent
            except BrokenPipeError:
                unsent = b""
            if not unsent:
                with contextlib.suppress(OSError):
                    process.stdin.close()
        if readable:
            data = os.read(output, 1 << 16)
            write(decoder.decode(data, final=not data))
            if not data:
                return
        elif process.poll() is not None and not _has_more(output):
            return  # a child in the background holds the pipe


def _has_more(output: int) -> bool:
    return bool(select.select([output], [], [], 0)[0])


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return
