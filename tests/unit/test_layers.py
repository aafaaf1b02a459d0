"""The imports of every module, compared with the house's plan: dependencies point down, and heavy ones enter at one place."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

import dh_kernel

ROOT = Path(dh_kernel.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
# What a part of the package may import of the package: by the name of its first level.
LEAVES = {"model", "errors"}
ALLOWED = {
    "runtime": {"runtime"},
    "plugin": {"runtime"},
    "display": {"runtime"},
    "model": set(),
    "errors": set(),
    "history": set(),
    "timings": set(),
    "credentials": set(LEAVES),
    "attaching": {"credentials", *LEAVES},
    "attach_options": {"attaching", *LEAVES},
    "checks": set(LEAVES),
    "declarations": {"checks", *LEAVES},
    "settings": {"attaching", "credentials", "declarations", "checks", *LEAVES},
    "render": {"render", "model"},
    "server": {"server", "__init__", *LEAVES},
    "session": {"session", "runtime", *LEAVES},
    "install": {"settings", "attaching", "credentials", *LEAVES},
    "kernelspecs": {"settings", "attaching", "credentials", *LEAVES},
    "versions": {"settings", *LEAVES},
    "launching": {"versions", "server", "settings", *LEAVES},
    "trial": {"session", *LEAVES},
    "standby": {"kernelspecs", "server", "launching", "settings", *LEAVES},
    "archive": {"kernelspecs", "training", "server", "launching", "settings", *LEAVES},
    "training": {"server", "launching", "settings", "trial", *LEAVES},
    "doctor": {"attaching", "kernelspecs", "timings", "server", "launching", "settings", "trial", "__init__", *LEAVES},
    "backend": {"losses", "timings", "versions", "server", "session", "launching", "training", "settings", *LEAVES},
    "flow": set(),
    "losses": set(LEAVES),
    "runs": {"session", "flow", *LEAVES},
    "asking": {"runs", "session"},
    "interrupting": {"runs"},
    "heartbeat": {"runs"},
    "budget": set(),
    "live": {"runs", "session"},
    "grid": {"model"},
    "publishing": {"budget", "runs", "backend", "session", "render", "live", "grid", *LEAVES},
    "debugging": set(LEAVES),
    "debug_channel": {"debugging"},
    "commands": {"backend", "attaching", "credentials", "runtime", *LEAVES},
    "questions": set(LEAVES),
    "reattaching": {"backend", "runs", "session", *LEAVES},
    "kernel": {
        "commands",
        "reattaching",
        "questions",
        "debug_channel",
        "flow",
        "losses",
        "runs",
        "asking",
        "interrupting",
        "heartbeat",
        "publishing",
        "backend",
        "session",
        "settings",
        "history",
        "__init__",
        *LEAVES,
    },
    "app": {"kernel", "timings", "backend", "server", "settings", "history", "__init__", *LEAVES},
    "batch": {"batch", "versions", "install", "settings", "attach_options", "credentials", "__init__", "__main__", *LEAVES},
    "cli": {
        "declarations",
        "versions",
        "archive",
        "doctor",
        "standby",
        "credentials",
        "kernelspecs",
        "batch",
        "install",
        "settings",
        "attach_options",
        "__init__",
        *LEAVES,
    },
    "__main__": {"app", "timings", "launching", "settings", "server", *LEAVES},
    "__init__": set(),
}
DEBUGPY = {"debugpy", "pydevd", "pydevd_tracing", "_pydevd_bundle", "_pydev_bundle"}
# Who may import these; all others may not.
ONLY = {
    "pydeephaven": {"session"},
    "grpc": {"session"},
    "pyarrow.flight": {"session"},
    "ipykernel": {"kernel", "app", "history"},
    "tornado": {"app"},
    "IPython": {
        "kernel",
        "app",
        "history",
        "runtime/ipython_shell",
        "runtime/ipython_current",
        "runtime/ipython_magics",
        "runtime/ipython_profile",
    },
    "deephaven": {"runtime", "plugin", "server/headstart"},
    "deephaven_internal": {"runtime/engine"},
    "jpy": {"runtime", "server/launcher", "server/adoption", "server/headstart"},
    "deephaven_server": {"server/launcher"},
    "jupyter_client": {"install", "kernelspecs", "standby", "batch", "kernel", "app"},
    "nbclient": {"batch/notebooks"},
    "ssl": {"session/greeting"},
    "keyring": {"credentials"},
}


def room_of(module: Path) -> str:
    """The first level below the package: `session`, `kernel` …"""
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


def name_of(module: Path) -> str:
    return module.relative_to(ROOT).as_posix().removesuffix(".py")


@functools.cache
def imports_of(module: Path) -> set[str]:
    """Full names of all that a module imports anywhere in it, except for type checkers alone."""
    package = ["dh_kernel", *module.relative_to(ROOT).parts[:-1]]
    tree = ast.parse(module.read_text("utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def rooms_imported(module: Path) -> set[str]:
    rooms = set()
    for name in imports_of(module):
        parts = name.split(".")
        if parts[0] == "dh_kernel":
            known = len(parts) > 1 and ((ROOT / parts[1]).is_dir() or (ROOT / f"{parts[1]}.py").exists())
            rooms.add(parts[1] if known else "__init__")
    return rooms


def test_the_plan_knows_every_room() -> None:
    assert {room_of(module) for module in MODULES} == set(ALLOWED)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_dependencies_point_down(module: Path) -> None:
    assert rooms_imported(module) <= ALLOWED[room_of(module)]


@pytest.mark.parametrize("package", ONLY)
def test_a_heavy_package_enters_at_its_place_only(package: str) -> None:
    users = {
        name_of(module)
        for module in MODULES
        if any(name == package or name.startswith(f"{package}.") for name in imports_of(module))
    }
    outside = {user for user in users if not {user, user.split("/")[0]} & ONLY[package]}
    assert outside == set()


def test_the_launcher_and_the_runtime_need_nothing_that_a_server_lacks() -> None:
    """The standard library and deephaven; the runtime may use IPython and jedi where they are."""
    optional = {"IPython", "traitlets", "jedi", "comm", "dh_kernel", "matplotlib", *DEBUGPY}
    deephaven = {"deephaven", "deephaven_internal", "jpy"}
    for module in (ROOT / "runtime").glob("*.py"):
        tops = {name.split(".")[0] for name in imports_of(module)}
        assert tops <= sys.stdlib_module_names | deephaven | optional, module
        if f"runtime/{module.stem}" not in ONLY["IPython"]:
            assert not tops & {"IPython", "traitlets"}, module
        if module.stem != "debugger":
            assert not tops & DEBUGPY, module
    for name in ("launcher", "headstart", "adoption", "archives", "formulas"):
        tops = {name.split(".")[0] for name in imports_of(ROOT / f"server/{name}.py")}
        assert tops <= sys.stdlib_module_names | {"deephaven_server", "deephaven", "jpy"}, name


def test_the_server_room_needs_the_standard_library_only() -> None:
    for module in (ROOT / "server").glob("*.py"):
        if module.stem not in ("launcher", "headstart", "adoption"):
            assert {name.split(".")[0] for name in imports_of(module)} <= sys.stdlib_module_names | {"dh_kernel"}, module


def test_the_session_comes_without_pandas_and_leaves_it_to_others() -> None:
    code = (
        "import sys; from dh_kernel.session import Session; assert 'pandas' not in sys.modules; "
        "import pydeephaven, pandas; assert pandas.DataFrame({'A': [1]}).shape == (1, 1)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
