"""The usual magics as far as the standard library carries them, for servers without IPython: by name, what each does.

Neighbours: `ipython_names` (its shell calls them), `stand_ins` (turns `%`, `%%` and `!` lines into calls of that shell),
`magics_run` (those that run code), `subprocesses`. What is not here answers with what to install.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import dh_magic, front, magics_run
from .elsewhere import ELSEWHERE
from .subprocesses import pip, run_script, system

HARMLESS = frozenset({"autoawait", "automagic", "config", "load_ext", "matplotlib", "reload_ext", "unload_ext"})
"""Line magics that may be left out: what they set up is there anyway, or cannot be there."""
NO_EFFECT = frozenset({"autocall", "autoreload", "colors", "pdb", "pprint", "precision", "xmode"})
"""Line magics that change how things feel, not what a cell computes: told, and the cell goes on."""
NEEDS_IPYTHON = "needs IPython in the server's Python, which is not there: pip install ipython on the server, and restart it"

Namespace = dict[str, Any]


def run_line(name: str, line: str, namespace: Namespace) -> Any:
    """Run a line magic.

    Raises:
        NotImplementedError: it needs IPython.
    """
    if name in HARMLESS:
        return None
    if name in NO_EFFECT:
        print(f"`%{name}` has no effect: it {NEEDS_IPYTHON}.", file=sys.stderr)
        return None
    if name in ELSEWHERE:
        print(ELSEWHERE[name])
        return None
    if name not in LINE:
        raise NotImplementedError(f"`%{name}` {NEEDS_IPYTHON}.")
    return LINE[name](line, namespace)


def run_cell(name: str, line: str, body: str, namespace: Namespace) -> Any:
    """Run a cell magic.

    Raises:
        NotImplementedError: it needs IPython.
    """
    if name not in CELL:
        raise NotImplementedError(f"`%%{name}` {NEEDS_IPYTHON}.")
    return CELL[name](line, body, namespace)


def is_known(name: str, *, cell: bool) -> bool:
    """Whether a magic of this name can be called."""
    return name in CELL if cell else name in LINE or name in HARMLESS | NO_EFFECT or name in ELSEWHERE


# --- variables


def _names(line: str, namespace: Namespace) -> list[str]:
    wanted, hidden = set(line.split()), ("In", "Out", "get_ipython", "exit", "quit")
    names = (name for name, value in list(namespace.items()) if not wanted or type(value).__name__ in wanted)
    return sorted(name for name in names if not name.startswith("_") and name not in hidden)


def _who(line: str, namespace: Namespace) -> None:
    print("\t ".join(_names(line, namespace)) or "Interactive namespace is empty.")


def _whos(line: str, namespace: Namespace) -> None:
    rows = [(name, type(namespace[name]).__name__) for name in _names(line, namespace)]
    width = max((len(name) for name, _ in rows), default=0)
    print("\n".join(f"{name:<{width}}  {kind}" for name, kind in rows) or "Interactive namespace is empty.")


def _reset(line: str, namespace: Namespace) -> None:
    plain = _plain()
    if "-f" not in line.split() and not input(
        "Once deleted, variables cannot be recovered. Proceed (y/[n])? "
    ).lower().startswith("y"):
        print("Nothing done.")
        return
    for name in plain.bound:
        namespace.pop(name, None)
    plain.bound.clear()


def _history(line: str, namespace: Namespace) -> None:
    numbered = "-n" in line.split()
    for number, code in enumerate(namespace.get("In", [])[1:], 1):
        if code:
            print(f"{number:>4}: {code}" if numbered else code)


def _plain() -> Any:
    cell = front.current_cell()
    if cell is None:
        raise RuntimeError("this magic works in cells only")
    return cell.front.plain


# --- files, folders, environment


def _pwd(line: str, namespace: Namespace) -> str:
    return os.getcwd()


def _cd(line: str, namespace: Namespace) -> None:
    os.chdir(Path(line.strip().strip("\"'") or "~").expanduser())
    print(os.getcwd())


def _env(line: str, namespace: Namespace) -> Any:
    name, equals, value = line.partition("=") if "=" in line else (*line.partition(" ")[:2], line.partition(" ")[2])
    name = name.strip()
    if not name:
        return dict(os.environ)
    if not equals:
        return os.environ.get(name) if name in os.environ else _print(f"Environment does not have key: {name}", sys.stderr)
    os.environ[name] = value.strip()
    print(f"env: {name}={value.strip()}")
    return None


def _print(text: str, file: Any) -> None:
    print(text, file=file)


def _ls(line: str, namespace: Namespace) -> None:
    system(f"ls -F {line}", namespace)


def _pip(line: str, namespace: Namespace) -> None:
    pip(line, namespace)


def _writefile(line: str, body: str, namespace: Namespace) -> None:
    words = shlex.split(line)
    append = "-a" in words or "--append" in words
    files = [word for word in words if not word.startswith("-")]
    if len(files) != 1:
        raise ValueError("%%writefile wants one file name.")
    path = Path(files[0]).expanduser()
    print(f"{'Appending to' if append else 'Overwriting' if path.exists() else 'Writing'} {files[0]}")
    with path.open("a" if append else "w", encoding="utf-8") as file:
        file.write(body)


# --- displays


def _shown_as(mime: str) -> Callable[[str, str, Namespace], None]:
    def show(line: str, body: str, namespace: Namespace) -> None:
        front.publish({mime: body, "text/plain": body}, {}, None, False)

    return show


def _script(program: str) -> Callable[[str, str, Namespace], None]:
    def run(line: str, body: str, namespace: Namespace) -> None:
        run_script(shlex.split(f"{program} {line}"), body)

    return run


def _lsmagic(line: str, namespace: Namespace) -> None:
    names = sorted({*LINE, *HARMLESS, *NO_EFFECT, *ELSEWHERE})
    print("Line magics: " + "  ".join(f"%{name}" for name in names))
    print("Cell magics: " + "  ".join(f"%%{name}" for name in (*sorted(CELL), "dh_console")))
    print("All others need IPython: pip install ipython on the server, and restart it.")


def _dh(line: str, namespace: Namespace) -> None:
    dh_magic.run(line)


LINE: dict[str, Callable[[str, Namespace], Any]] = {
    "cd": _cd,
    "debug": lambda line, namespace: magics_run.debug(_plain().last_error),
    "dh": _dh,
    "env": _env,
    "hist": _history,
    "history": _history,
    "ls": _ls,
    "lsmagic": _lsmagic,
    "pip": _pip,
    "pwd": _pwd,
    "reset": _reset,
    "run": magics_run.run_file,
    "set_env": _env,
    "sx": lambda line, namespace: magics_run.getoutput(line, namespace),
    "time": magics_run.time_line,
    "timeit": lambda line, namespace: magics_run.timeit(line, "", namespace),
    "who": _who,
    "who_ls": _names,
    "whos": _whos,
}
CELL: dict[str, Callable[[str, str, Namespace], Any]] = {
    "bash": _script("bash"),
    "html": _shown_as("text/html"),
    "HTML": _shown_as("text/html"),
    "javascript": _shown_as("application/javascript"),
    "js": _shown_as("application/javascript"),
    "latex": _shown_as("text/latex"),
    "markdown": _shown_as("text/markdown"),
    "python": lambda line, body, namespace: run_script([sys.executable, *shlex.split(line)], body),
    "python3": lambda line, body, namespace: run_script([sys.executable, *shlex.split(line)], body),
    "script": lambda line, body, namespace: run_script(shlex.split(line), body),
    "sh": _script("sh"),
    "svg": _shown_as("image/svg+xml"),
    "SVG": _shown_as("image/svg+xml"),
    "time": magics_run.time_cell,
    "timeit": magics_run.timeit,
    "writefile": _writefile,
}
