"""Environments with other versions of Deephaven, made once and kept in the user's cache folder.

    ~/.cache/dh-kernel/environments/41.11-1f2e3d4c     the version, and a hash of what else was asked for

Made with uv where that is on the PATH, else with venv and pip, under a name of its own beside the place it is then renamed to:
what is in the place is complete. Two processes that want the same one wait for each other; what an interrupted one has left is
removed by the next. Neighbours: `launching` (which Python a server gets), `cli`, `backend`. Imports nothing heavy.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import platformdirs

from dh_kernel.errors import ServerStartError
from dh_kernel.settings import VARIABLES, Settings

# Beside Deephaven itself, so that cells there have what they have elsewhere: magics, and the debugger.
COMPANIONS = ("ipython>=8.20", "debugpy>=1.8")
_ISOLATED = ("-I", "-X", "utf8")
_LAST_LINES = 4
_HEADLINES = 160
# Signs of an index that is not reached, by pip and by uv.
_UNREACHED = (
    "name resolution",
    "Name or service not known",
    "Failed to establish",
    "Connection refused",
    "Network is unreachable",
    "dns error",
    "Could not connect",
    "error sending request",
    "tcp connect error",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ProxyError",
    "Temporary failure",
    "client error (Connect)",
    "after connection broken",
    "Could not fetch URL",
    "network was disabled",
)
_NONE_SEEN = "(from versions: none)"  # by pip: of a name that no index knows, and where no index is reached
_NOT_FOUND = (
    re.compile(r"No matching distribution found for (\S+)"),
    re.compile(r"([\w.-]+)\S* was not found in the (?:package registry|cache)"),
    re.compile(r"there (?:is|are) no versions? of ([\w.-]+)"),
    re.compile(r"([\w.-]+)\S* has no (?:usable )?wheels"),
    re.compile(r"only (?:the following versions of )?([\w.-]+)\S* (?:is|are) available"),
)


@dataclass(frozen=True)
class Environment:
    """One that is there, or can be made. `base` is the Python that it is made with."""

    version: str
    packages: tuple[str, ...]
    base: str

    @property
    def requirements(self) -> tuple[str, ...]:
        return (f"deephaven-server=={self.version}", *COMPANIONS, *self.packages)

    @property
    def path(self) -> str:
        """Where it is, or will be."""
        parts = [self.base, _stamp(self.base), *self.requirements]
        digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return os.path.join(folder(), f"{self.version}-{digest}")

    @property
    def python(self) -> str:
        """Its interpreter."""
        return _interpreter(self.path)

    @property
    def exists(self) -> bool:
        """Whether it is there; then it is complete."""
        return os.path.exists(self.python)


def wanted(settings: Settings) -> Environment | None:
    """What the settings ask for; None where the server's Python is named, or the kernel's own."""
    if not settings.deephaven_version or settings.endpoint is not None:
        return None
    packages = tuple(map(_located, settings.deephaven_packages))
    return Environment(settings.deephaven_version, packages, settings.python)


def _located(package: str) -> str:
    """What pip is told: a path there as seen from here."""
    path = os.path.expanduser(package.partition("[")[0])
    is_path = os.sep in package or package.startswith(".") or package.endswith((".whl", ".tar.gz"))
    return os.path.abspath(path) + package[len(package.partition("[")[0]) :] if is_path and os.path.exists(path) else package


def folder() -> str:
    """Where they are kept."""
    return os.path.abspath(os.path.join(platformdirs.user_cache_dir("dh-kernel", appauthor=False), "environments"))


def installed() -> list[str]:
    """The names of those that are there."""
    with contextlib.suppress(OSError):
        return sorted(name for name in os.listdir(folder()) if "." in name and not name.startswith("."))
    return []


def remove(name: str) -> int:
    """Remove those of a version, or one by its name; how many."""
    chosen = [found for found in installed() if found == name or found.rpartition("-")[0] == name]
    for found in chosen:
        # Out of the way first: what is half removed must not look complete.
        away = os.path.join(folder(), f".{found}.{os.getpid()}.gone")
        os.rename(os.path.join(folder(), found), away)
        shutil.rmtree(away, ignore_errors=True)
    return len(chosen)


def provide(environment: Environment, progress: Callable[[str], None]) -> str:
    """The interpreter of an environment, which is made if it is not there. Blocks, for minutes.

    Args:
        progress: called with a line for each step.
    Raises:
        ServerStartError: it cannot be made; with the next step.
    """
    if environment.exists:
        return environment.python
    try:
        os.makedirs(folder(), mode=0o700, exist_ok=True)
        with _alone(environment.path, progress):
            if not environment.exists:
                _make(environment, progress)
    except OSError as error:
        raise ServerStartError(
            f"Deephaven {environment.version} cannot be installed in {folder()}: {error.strerror}"
        ) from error
    return environment.python


@contextlib.contextmanager
def _alone(path: str, progress: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock for one environment. It ends with this process, however that ends."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    name = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.lock")
    with open(name, "w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            progress("another process is installing it: waiting for that")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(environment: Environment, progress: Callable[[str], None]) -> None:
    place, name = os.path.split(environment.path)
    for left in os.listdir(place):
        if left.startswith(f".{name}.") and left.endswith(".new") and sys.platform != "win32":
            shutil.rmtree(os.path.join(place, left), ignore_errors=True)  # its maker had the lock, and is gone
    beside = os.path.join(place, f".{name}.{os.getpid()}.new")
    uv = shutil.which("uv")
    try:
        if uv:
            progress(f"making an environment with uv for {environment.base}")
            _run(environment, [uv, "venv", "--quiet", "--python", environment.base, beside], progress)
            command = [uv, "pip", "install", "--python", _interpreter(beside)]
        else:
            progress(f"making an environment for {environment.base}")
            _run(environment, [environment.base, *_ISOLATED, "-m", "venv", beside], progress)
            command = [_interpreter(beside), *_ISOLATED, "-m", "pip", "install", "--progress-bar", "off"]
        _run(environment, [*command, *environment.requirements], progress)
        _move_scripts(beside, environment.path)
        with contextlib.suppress(FileExistsError, PermissionError) if sys.platform == "win32" else contextlib.nullcontext():
            os.rename(beside, environment.path)
        progress(f"installed in {environment.path}")
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _run(environment: Environment, command: list[str], progress: Callable[[str], None]) -> None:
    """One step; each line that tells of something to wait for is passed on.

    The folder of the notebook is not where it runs: its modules would be imported, and its settings for uv be read, or
    those of a folder above it.
    """
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    lines: list[str] = []
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        cwd=os.path.abspath(os.sep),
        env={**clean, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    atexit.register(process.kill)
    assert process.stdout is not None
    try:
        with process.stdout as output:
            for line in output:
                lines.append(line.rstrip())
                if line.startswith(("Collecting", "Downloading", "Installing", "  Downloading", "Prepared", "Installed")):
                    progress(line.strip()[:_HEADLINES])
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        atexit.unregister(process.kill)
    if code:
        raise ServerStartError(_why(environment, lines))


def _why(environment: Environment, lines: list[str]) -> str:
    text = " ".join(" ".join(lines).split())  # uv breaks lines
    what = f"Deephaven {environment.version} cannot be installed"
    missing = next((match[1] for form in _NOT_FOUND if (match := form.search(text))), None)
    unreached = any(clue in text for clue in _UNREACHED)
    if unreached and (missing is None or _NONE_SEEN in text or "network was disabled" in text):
        return (
            f"{what}: no package index that has {missing or 'it'} can be reached from here. Connect once, which is enough for"
            f" good, or name an environment that has deephaven-server in {VARIABLES['python']}."
        )
    if missing is not None and "could not be queried" not in text:  # by uv, for want of credentials, as it says
        return f"{what}: the package index has no {_not_found(environment, missing)}"
    last = "\n".join(f"  {line}" for line in lines if line.strip() and not line.startswith("WARNING")).splitlines()[
        -_LAST_LINES:
    ]
    return "\n".join([f"{what}. The last lines of the installation:", *last])


def _not_found(environment: Environment, missing: str) -> str:
    """What there is not, and what to do about it."""
    name = _name(missing)
    if name == "deephaven-server":
        return (
            f"deephaven-server {environment.version} for {environment.base}. Choose another in"
            f" {VARIABLES['deephaven_version']}, such as 41.11."
        )
    if name in map(_name, environment.packages):
        how = f"Check how its name and its version are written in {VARIABLES['deephaven_packages']}."
        return f"{missing} for {environment.base}. {how}"
    return (
        f"{missing} for {environment.base}, and it is needed. Choose another Python in {VARIABLES['python']}, another version"
        f" in {VARIABLES['deephaven_version']}, or an index that has it (PIP_INDEX_URL, for uv UV_DEFAULT_INDEX)."
    )


def _name(requirement: str) -> str:
    """The name of a package, in the one form that all its spellings have."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement, maxsplit=1)[0]).lower()


def _move_scripts(made: str, place: str) -> None:
    """Programs in an environment name its interpreter in their first line: the place where it will be."""
    scripts = os.path.join(made, "bin")
    for name in os.listdir(scripts) if os.path.isdir(scripts) else ():
        file = os.path.join(scripts, name)
        if os.path.islink(file) or not os.path.isfile(file):
            continue
        with open(file, "rb") as stream:
            content = stream.read()
        if os.fsencode(made) in content and b"\0" not in content:
            with open(file, "wb") as stream:
                stream.write(content.replace(os.fsencode(made), os.fsencode(place)))


def _interpreter(path: str) -> str:
    return os.path.join(path, "Scripts", "python.exe") if sys.platform == "win32" else os.path.join(path, "bin", "python")


def _stamp(base: str) -> str:
    """What changes when a Python is replaced by another version."""
    real = os.path.realpath(base)
    with contextlib.suppress(OSError):
        return f"{real}:{os.stat(real).st_size}"
    return real
