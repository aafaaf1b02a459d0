"""Looks whether the kernel can work here, and says what to try next where it cannot: `jupyter deephaven doctor`.

Checks from the outside in: this Python and its packages, the settings, the Java, loopback ports, the kernelspecs, the cache,
and then the real thing, a server that is launched, or attached, and a cell with a table on it. Neighbours: `settings`,
`server`, `trial`; `cli` prints. Refuses to repair, and to show a key.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

from dh_kernel import __version__
from dh_kernel.attaching import HIDDEN
from dh_kernel.errors import DhKernelError, NoJavaError, ServerStartError, ServerStartTimeout, SettingsError
from dh_kernel.launching import archive_folder, launch_options, needs_environment
from dh_kernel.server import ServerProcess, find_java
from dh_kernel.settings import VARIABLES, Settings, load_settings, withhold
from dh_kernel.timings import Timings
from dh_kernel.trial import run_cell

if TYPE_CHECKING:
    from dh_kernel.kernelspecs import Spec

OK, WARNING, PROBLEM = "ok", "warning", "problem"
OLDEST_PYTHON = (3, 10)
_PACKAGES = ("ipykernel", "jupyter_client", "pydeephaven", "pyarrow", "traitlets")
_SERVER_PACKAGES = ("deephaven-server", "ipython", "jedi", "debugpy", "ipywidgets")
# As a server starts: not from what lies in this folder.
_ASK_PACKAGES = """
import sys
sys.path[:1] == [""] and sys.path.pop(0)
import importlib.metadata, json
found = {}
for name in sys.argv[1:]:
    try: found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError: found[name] = None
print(json.dumps([sys.version.split()[0], found]))
"""
_ASK_WITHIN_S = 30.0
_LITTLE_SPACE = 1 << 30
_CELL = "from deephaven import empty_table\ntable = empty_table(1000).update(['X = i', 'Y = Math.sin(X)'])"
# There the globals are everybody's: it binds no name, and has no result, which would be kept as `_`.
_CELL_OF_ATTACHED = """
if __import__("deephaven").empty_table(1000).update(["X = i", "Y = Math.sin(X)"]).size != 1000:
    raise RuntimeError("a table of 1000 rows has not so many")
"""


# By the kind of an error that says no more than what is wrong; the first that fits.
_STEPS: dict[type[DhKernelError], str] = {
    SettingsError: "Correct it, or take it away, where it is set; docs/settings.md has all settings, and the places.",
    NoJavaError: f"Install a JDK 17 or newer, or set {VARIABLES['java_home']} to the folder of one.",
    ServerStartTimeout: f"Set {VARIABLES['start_timeout_s']} to more seconds, or look in these lines for what it waits for.",
    ServerStartError: "Mend what it says, and run this again. If it does not tell what to mend please report it.",
    DhKernelError: "Run this again; if it stays please report it.",
}


@dataclass(frozen=True)
class Finding:
    """What one check has found. `next_step` is None where all is well, and nowhere else."""

    check: str
    state: str
    text: str
    next_step: str | None = None


def _ok(check: str, text: str) -> Finding:
    return Finding(check, OK, text)


def _note(check: str, text: str, next_step: str) -> Finding:
    return Finding(check, WARNING, text, next_step)


def _problem(check: str, text: str, next_step: str) -> Finding:
    return Finding(check, PROBLEM, text, next_step)


def _failed(check: str, error: DhKernelError) -> Finding:
    """Errors of connections bring their next step; others say what is wrong, so that it can be told from their kind."""
    text, _, step = str(error).partition(" Next step: ")
    return _problem(check, text, step or next(step for kind, step in _STEPS.items() if isinstance(error, kind)))


def examine(argv: Sequence[str], environ: Mapping[str, str], *, trial: bool = True) -> Iterator[Finding]:
    """All checks, each as soon as it is done. Raises nothing.

    Args:
        argv: settings as a kernelspec's command line has them.
        trial: launch, or attach to, a server.
    """
    settings, problem = load_settings(argv, environ)
    withhold(settings)
    checks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("python", _python),
        ("packages", _packages),
        ("settings", lambda: _settings(settings, problem)),
        ("kernelspecs", _kernelspecs),
    ]
    if settings.endpoint is None:
        checks += [
            ("server's python", lambda: _server_python(settings)),
            ("java", lambda: _java(settings, environ)),
            ("ports", lambda: _ports(settings)),
            ("space", _space),
        ]
    if trial and problem is None:
        checks.append(
            ("attach", lambda: _attach(settings)) if settings.endpoint is not None else ("launch", lambda: _launch(settings))
        )
    for name, check in checks:
        try:
            yield from check()
        except DhKernelError as error:
            yield _failed(name, error)
        except Exception as error:  # a check that fails is a finding too
            yield _problem(name, f"the check itself failed: {type(error).__name__}: {error}", "Please report this.")


def is_well(findings: Sequence[Finding]) -> bool:
    """Whether nothing stands in the way."""
    return all(finding.state != PROBLEM for finding in findings)


def as_line(finding: Finding) -> str:
    """A finding for people, with the next step beneath."""
    mark = {OK: "ok     ", WARNING: "note   ", PROBLEM: "PROBLEM"}[finding.state]
    text = f"{mark}  {finding.check}: {finding.text}"
    return text if finding.next_step is None else f"{text}\n         -> {finding.next_step}"


def as_json(findings: Sequence[Finding]) -> str:
    """All findings for programs."""
    content: dict[str, Any] = {"version": __version__, "ok": is_well(findings), "findings": list(map(asdict, findings))}
    return json.dumps(content, indent=2)


# --- this environment


def _python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < OLDEST_PYTHON:
        yield _problem("python", f"{version} in {sys.executable}", "dh-kernel needs Python 3.10 or newer.")
    else:
        yield _ok("python", f"{version} in {sys.executable}")


def _packages() -> Iterator[Finding]:
    versions = {name: _version(name) for name in _PACKAGES}
    missing = [name for name, version in versions.items() if version is None]
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version is not None)
    if missing:
        step = f"{sys.executable} -m pip install {' '.join(missing)}"
        yield _problem("packages", f"not installed: {', '.join(missing)}", step)
    yield _ok("packages", f"dh-kernel {__version__}, {text}")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _settings(settings: Settings, problem: SettingsError | None) -> Iterator[Finding]:
    if problem is not None:
        for line in str(problem).splitlines():
            yield _failed("settings", SettingsError(line))
        return
    for warning in settings.warnings:
        text, _, command = warning.partition(": chmod ")
        yield _note("settings", text, f"chmod {command}" if command else _STEPS[SettingsError])
    what = "a server is launched for each kernel" if settings.endpoint is None else f"attaches to {settings.endpoint.url}"
    yield _ok("settings", what)


def _kernelspecs() -> Iterator[Finding]:
    from dh_kernel.kernelspecs import Unreadable, find

    ours = 0
    for spec in find():
        if isinstance(spec, Unreadable):
            step = f"jupyter kernelspec remove {spec.name}"
            yield _note("kernelspecs", f"{spec.path} cannot be read: {spec.reason}", step)
            continue
        ours += 1
        for problem in spec.problems:
            yield _problem("kernelspecs", f"{spec.name}: {problem}", _mending(spec, problem))
        if not spec.problems:
            leads = f", attaches to {spec.server}" if spec.server else ""
            yield _ok("kernelspecs", f"{spec.name}: {spec.python}{leads}")
    if not ours:
        yield _problem("kernelspecs", "Jupyter finds none of this kernel", "jupyter deephaven install")


def _mending(spec: Spec, problem: str) -> str:
    """A kernelspec that is installed again has only what the command line says."""
    hidden = [VARIABLES[name] for name, value in spec.settings.items() if name == "headers" or value == HIDDEN]
    shown = {VARIABLES[name]: value for name, value in spec.settings.items()}
    settings = [f"--env={variable}={value}" for variable, value in shown.items() if variable not in hidden]
    named = [] if spec.display_name.lower() == spec.name else [f"--display-name={spec.display_name}"]
    command = shlex.join(["jupyter", "deephaven", "install", "--name", spec.name, *named, *settings])
    if hidden:
        command = f"{command}, with --env for {' and '.join(hidden)} too"
    if not spec.settings or "install the kernelspec again" in problem:
        return command
    return f"Correct {os.path.join(spec.path, 'kernel.json')}, or what it names; or change and run: {command}"


# --- where a server is launched


def _server_python(settings: Settings) -> Iterator[Finding]:
    check = "server's python"
    missing = needs_environment(settings)
    if missing is not None:
        yield _note(check, f"Deephaven {missing.version} is not installed yet", "The first kernel does it.")
        return
    settings = replace(settings, python=launch_options(settings).python)
    try:
        asked = subprocess.run(
            [settings.python, "-c", _ASK_PACKAGES, *_SERVER_PACKAGES],
            capture_output=True,
            text=True,
            timeout=_ASK_WITHIN_S,
            check=True,
            stdin=subprocess.DEVNULL,
        )
        version, found = json.loads(asked.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        yield _problem(check, f"{settings.python} does not run: {error}", f"Set {VARIABLES['python']} to another.")
        return
    if found["deephaven-server"] is None:
        step = f"{settings.python} -m pip install deephaven-server"
        yield _problem(check, f"{settings.python} has no deephaven-server", step)
        return
    here = ", ".join(f"{name} {number}" for name, number in found.items() if number is not None)
    yield _ok(check, f"{version} in {settings.python} with {here}")
    if found["ipython"] is None:
        step = f"{settings.python} -m pip install ipython"
        yield _note(check, "no IPython there: cells run without most magics", step)


def _java(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    java = find_java(settings.java_home, environ=environ)
    yield _ok("java", f"JDK {java.version} in {java.home}")


def _ports(settings: Settings) -> Iterator[Finding]:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", settings.port))
        except OSError as error:
            what = f"port {settings.port} of 127.0.0.1 cannot be had: {error.strerror}"
            yield _problem("ports", what, f"Set {VARIABLES['port']} to 0 for any free one.")
            return
        yield _ok("ports", f"127.0.0.1:{probe.getsockname()[1]} is free")


def _space() -> Iterator[Finding]:
    from dh_kernel.server.workdir import temporary_folder

    for name, folder in (("temporary files", temporary_folder()), ("cache", archive_folder())):
        place = folder
        while not os.path.isdir(place) and os.path.dirname(place) != place:
            place = os.path.dirname(place)
        free = shutil.disk_usage(place).free
        text = f"{name} in {folder}, {free / (1 << 30):,.1f} GB free"
        if not os.access(place, os.W_OK):
            state, step = (
                (PROBLEM, "Set TMPDIR to a folder of yours.") if name != "cache" else (WARNING, "Starts stay slower.")
            )
            yield Finding("space", state, f"{text}, but it cannot be written to", step)
        elif free < _LITTLE_SPACE:
            yield _note("space", text, "Make room: Java's temporary files go there.")
        else:
            yield _ok("space", text)


# --- the real thing


def _launch(settings: Settings) -> Iterator[Finding]:
    if needs_environment(settings) is not None:
        step = "Start a kernel, or run `jupyter deephaven standby start`, which install it; then run this again."
        yield _note("launch", "not tried, since its version is not installed yet", step)
        return
    begun = time.monotonic()
    timings = Timings(begun)
    process = ServerProcess.start(replace(launch_options(settings), takes_spare=False))
    try:
        endpoint = process.wait_ready()
        ready_s = time.monotonic() - begun
        tried = run_cell(endpoint, _CELL, launched=True)
    finally:
        process.stop()
    timings.server = process.times
    archive = "from an archive of classes" if process.archive_used else "without an archive of classes"
    text = (
        f"Deephaven {tried.deephaven} was ready after {ready_s:.1f} s ({archive}), connected in {tried.connected_s:.1f} s,"
        f" first cell and table in {tried.done_s:.1f} s; {timings.line()}"
    )
    step = f"{process.options.python} -m pip check; and if that finds nothing please report this."
    yield from _judged("launch", text, step, tried.error, tried.tables)


def _attach(settings: Settings) -> Iterator[Finding]:
    assert settings.endpoint is not None
    tried = run_cell(settings.endpoint, _CELL_OF_ATTACHED, launched=False)
    text = (
        f"Deephaven {tried.deephaven} with Python {tried.python} at {settings.endpoint.address}, connected in"
        f" {tried.connected_s:.1f} s, first cell in {tried.done_s:.1f} s"
    )
    step = "Look into the log of that server, or ask who runs it: it is reached, but does not run a simple cell."
    yield from _judged("attach", text, step, tried.error, 1)


def _judged(check: str, text: str, step: str, error: str | None, tables: int) -> Iterator[Finding]:
    if error is not None:
        yield _problem(check, f"{text}; it failed: {error}", step)
    elif not tables:
        yield _problem(check, f"{text}; no table came", step)
    else:
        yield _ok(check, text)
