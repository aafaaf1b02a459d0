"""What tests of the run command share: the real program as a subprocess, its outcome, and its JSON held against the schemas.

Neighbours: `tests/batch/conftest.py` says where it runs; `harness` has the server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from harness import SCRIPTS

TIMEOUT_S = 150.0
PROGRAM = str(SCRIPTS / "dh-kernel")


@dataclass(frozen=True)
class Done:
    """A run that has ended."""

    code: int
    out: bytes
    err: bytes

    @property
    def text(self) -> str:
        """Its stdout."""
        return self.out.decode()

    @property
    def errors(self) -> str:
        """Its stderr."""
        return self.err.decode()

    @property
    def json(self) -> dict[str, Any]:
        """The one object of `--json`, which fits its schema and tells the exit code."""
        whole: dict[str, Any] = json.loads(self.out)
        validate(whole, "run")
        assert whole["exit_code"] == self.code
        return whole

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of `--json-lines`, each of which fits the schema; the last one tells the exit code."""
        events = [json.loads(line) for line in self.out.splitlines()]
        for event in events:
            validate(event, "event")
        assert events[-1]["event"] == "status"
        assert events[-1]["exit_code"] == self.code
        return events


def validate(value: dict[str, Any], name: str) -> None:
    """Hold a value against a schema of the package."""
    schema = json.loads(resources.files("dh_kernel.batch").joinpath(f"schemas/{name}-1.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(value)


@dataclass(frozen=True)
class Runs:
    """Where runs take place: the options that say so, the environment, the folder."""

    folder: Path
    environ: Mapping[str, str]
    where: tuple[str, ...] = ()

    def command(self, *arguments: str) -> list[str]:
        """The command line of a run."""
        return [PROGRAM, "run", *self.where, *arguments]

    def __call__(self, *arguments: str, stdin: bytes | None = None, environ: Mapping[str, str] | None = None) -> Done:
        """Run to the end; without a terminal, and without a standard input unless there is one."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            cwd=self.folder,
            env={**self.environ, **(environ or {})},
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def begin(self, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a run and return."""
        options.setdefault("stdin", subprocess.DEVNULL)
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        return subprocess.Popen(self.command(*arguments), cwd=self.folder, env=dict(self.environ), **options)

    def script(self, name: str, code: str | bytes) -> Path:
        """Write a script into the folder."""
        path = self.folder / name
        path.write_bytes(code if isinstance(code, bytes) else code.encode())
        return path

    def python(self, *arguments: str) -> Done:
        """What plain Python does."""
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env=dict(self.environ),
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)


def bare_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Nothing but what says where this checkout is, as under `env -i`."""
    kept = ("PYTHONPATH",)
    return {name: environ[name] for name in kept if name in environ}


def end(process: subprocess.Popen[bytes]) -> None:
    """Make sure that a run has ended."""
    if process.poll() is None:
        process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
    process.wait(30)


def read_until(descriptor: int, wanted: bytes) -> bytes:
    """Read a pipe until it has brought this."""
    data = b""
    while wanted not in data:
        more = os.read(descriptor, 1 << 16)
        assert more, data
        data += more
    return data


def notebook(path: Path, cells: Sequence[str], tags: Mapping[int, str] | None = None) -> Path:
    """Write a notebook of code cells."""
    made = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "source": code,
            "metadata": {"tags": [tags[number]]} if tags and number in tags else {},
            "execution_count": None,
            "outputs": [],
        }
        for number, code in enumerate(cells)
    ]
    kernelspec = {"name": "deephaven", "display_name": "Deephaven", "language": "python"}
    whole = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernelspec}, "cells": made}
    path.write_text(json.dumps(whole), "utf-8")
    return path


def printed(path: Path) -> list[str]:
    """The texts of an executed notebook's outputs."""
    cells = json.loads(path.read_text("utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return ["".join(output.get("text") or output["data"]["text/plain"]) for output in outputs]
