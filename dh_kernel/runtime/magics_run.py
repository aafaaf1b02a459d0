"""Magics that run code, by the standard library: `%time`, `%timeit`, `%run`, `%debug`.

Neighbours: `plain_magics` (their table), `subprocesses`. Refuses to know cells.
"""

from __future__ import annotations

import ast
import contextlib
import itertools
import os
import pdb
import shlex
import statistics
import sys
import time
import timeit as timeit_module
from pathlib import Path
from typing import Any

from .subprocesses import getoutput
from .tracebacks import remember_source

__all__ = ["debug", "getoutput", "run_file", "time_cell", "time_line", "timeit"]

Namespace = dict[str, Any]
_numbers = itertools.count(1)


def time_line(line: str, namespace: Namespace) -> object:
    """`%time statement`: the value, and on stdout how long it took."""
    return time_cell("", line, namespace)


def time_cell(line: str, body: str, namespace: Namespace) -> object:
    """`%%time`: as `%time`, of a whole cell."""
    run = _compiled(f"{line}\n{body}" if line.strip() else body, "time")
    wall, cpu = time.perf_counter(), os.times()
    try:
        return run(namespace)
    finally:
        spent, now = time.perf_counter() - wall, os.times()
        user, kernel = now.user - cpu.user, now.system - cpu.system
        print(f"CPU times: user {_span(user)}, sys: {_span(kernel)}, total: {_span(user + kernel)}")
        print(f"Wall time: {_span(spent)}")


def timeit(line: str, body: str, namespace: Namespace) -> None:
    """`%timeit [-n loops] [-r runs] statement`; with a body, the line is what is done before."""
    words, loops, runs = line.split(" "), 0, 7
    while words and words[0].startswith(("-n", "-r")):
        option = words.pop(0)
        number = int(option[2:] or words.pop(0))
        loops, runs = (number, runs) if option.startswith("-n") else (loops, number)
    statement, setup = (body, " ".join(words).strip()) if body else (" ".join(words).strip(), "")
    if not statement:
        return
    timer = timeit_module.Timer(statement, setup or "pass", globals=namespace)
    if not loops:
        loops, _ = timer.autorange()
    times = [spent / loops for spent in timer.repeat(runs, loops)]
    mean, deviation = statistics.fmean(times), statistics.pstdev(times)
    print(
        f"{_span(mean)} ± {_span(deviation)} per loop (mean ± std. dev. of {runs} run{'s' * (runs != 1)}, "
        f"{loops:,} loop{'s' * (loops != 1)} each)"
    )


def run_file(line: str, namespace: Namespace) -> None:
    """`%run [-i] file arguments`: run a file as `__main__`, and take over its names. With `-i` it sees the cells' names.

    Raises:
        FileNotFoundError: there is no such file.
    """
    words = shlex.split(line)
    interactive = words[:1] == ["-i"]
    if interactive:
        words = words[1:]
    if not words or words[0].startswith("-"):
        raise ValueError("write %run [-i] FILE [ARGUMENTS]; other options need IPython on the server.")
    path = Path(words[0]).expanduser()
    if not path.exists() and path.with_name(path.name + ".py").exists():
        path = path.with_name(path.name + ".py")
    code = compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    names: Namespace = namespace if interactive else {"__name__": "__main__", "__builtins__": namespace.get("__builtins__")}
    hidden = {"__name__": "__main__", "__file__": str(path)}
    before = {name: namespace[name] for name in hidden if name in namespace}
    arguments, sys.argv = sys.argv, [str(path), *words[1:]]
    sys.path.insert(0, str(path.parent.absolute()))
    names.update(hidden)
    try:
        with contextlib.suppress(SystemExit):
            exec(code, names)
    finally:
        sys.argv = arguments
        with contextlib.suppress(ValueError):
            sys.path.remove(str(path.parent.absolute()))
        for name in hidden:
            names.pop(name, None)
        namespace.update({name: value for name, value in names.items() if not name.startswith("__")})
        namespace.update(before)


def debug(error: BaseException | None) -> None:
    """Look around where the latest error came from; the debugger asks by `input`."""
    if error is None or error.__traceback__ is None:
        print("There is no error to look at.", file=sys.stderr)
        return
    debugger = pdb.Pdb(nosigint=True)
    debugger.reset()
    debugger.interaction(None, error.__traceback__)


def _compiled(source: str, what: str) -> Any:
    """A function of the namespace that runs the source; its value is that of a trailing expression."""
    file = f"<{what} {next(_numbers)}>"
    remember_source(file, source)
    tree = ast.parse(source, file)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    body = compile(tree, file, "exec", dont_inherit=True)
    value = compile(ast.Expression(last.value), file, "eval", dont_inherit=True) if isinstance(last, ast.Expr) else None

    def run(namespace: Namespace) -> object:
        exec(body, namespace)
        return eval(value, namespace) if value is not None else None

    return run


def _span(seconds: float) -> str:
    """A time as IPython writes it: three figures and a unit."""
    if seconds >= 60:
        minutes, rest = divmod(int(seconds), 60)
        return f"{minutes}min {rest}s"
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("μs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
