"""Java's archives of loaded classes, which shorten a server's start: names, folder, the options that use and make them.

Java 17 to 24 share class data (`-XX:SharedArchiveFile`, JEP 310), newer ones have an ahead-of-time cache (`-XX:AOTCache`, JEP
514). Either belongs to one Java, one set of jars and one set of options; Java checks that and starts without where it does not
fit. The first is written by a Java of its own from a list of the classes that the server has loaded: what a server writes by
itself at its end (JEP 350) lacks the classes of old compilers, and needs a second archive beneath it.

Neighbours: `launcher.py` loads this file in the server's interpreter and asks for options; `dh_kernel.training` makes
archives. The standard library only; nothing here raises for what is wrong in the folder.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import shutil
import subprocess
import time

MOST_KEPT = 4
_SUFFIX = ".jsa"
_FORMULAS = "formulas-"
_FORM = "2"  # of what is in an archive; those of another are not used
_AHEAD_OF_TIME = 25  # the first Java that makes such a cache in one run
_OWN_OPTIONS = ("-XX:SharedArchiveFile", "-XX:ArchiveClassesAtExit", "-XX:DumpLoadedClassList", "-XX:AOT", "-Xshare")
_CLASSES = ".classes"
# At a random address, Java's default, each start would write all of it anew, into memory of its own.
_WHERE_IT_WAS_MADE_FOR = ("-XX:+UnlockDiagnosticVMOptions", "-XX:ArchiveRelocationMode=0")
_NOT_FOR_WRITING = (
    "-D",
    "-Xlog",
    "-agent",
    "-javaagent",
    "-XX:DumpLoadedClassList",
    "-XX:CompilerDirectivesFile",
    "-XX:ErrorFile",
)
_RETRY_AFTER_S = 7 * 86_400.0
_LOCKED_FOR_S = 600.0


def archive_path(folder: str, java_home: str, jars: str, jvm_args: list[str]) -> str | None:
    """Where the archive for a launch is, or will be; None where the user has options of their own for it.

    Args:
        jars: what `stamps_of` says of Deephaven's jars.
    """
    if any(argument.startswith(_OWN_OPTIONS) for argument in jvm_args):
        return None
    # Options that count are those of the virtual machine itself; sizes and paths do not.
    options = sorted(argument for argument in jvm_args if argument.startswith("-XX:") and os.sep not in argument)
    parts = [_FORM, os.path.realpath(java_home), _stamps(os.path.join(java_home, "release")), jars]
    return os.path.join(folder, _digest("\0".join([*parts, *options])) + _SUFFIX)


def formulas_folder(folder: str, jars: str) -> str | None:
    """Where formulas that were compiled with these jars are kept, or will be; None if others may write there.

    Args:
        jars: what `stamps_of` says of Deephaven's jars.
    """
    path = os.path.join(folder, _FORMULAS + _digest(jars))
    with contextlib.suppress(OSError):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    return path if _is_ours(folder) and (_is_ours(path) or not os.path.lexists(path)) else None


def stamps_of(folder: str) -> str:
    """What tells the jars in a folder from those of another version. Looks at some hundred files."""
    return "\0".join([folder, *map(_stamps, sorted(glob.glob(os.path.join(glob.escape(folder), "*.jar"))))])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def _stamps(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return ""
    return f"{os.path.basename(path)}:{status.st_size}:{status.st_mtime_ns}"


def options_to_use(path: str, java: int) -> list[str]:
    """The options for a start from an archive, which is noted as used; none where there is none that can be trusted."""
    if not _is_ours(os.path.dirname(path)) or not _is_ours(path):
        return []
    with contextlib.suppress(OSError):
        os.utime(path)
    if java >= _AHEAD_OF_TIME:
        return [*_WHERE_IT_WAS_MADE_FOR, f"-XX:AOTCache={path}", "-Xlog:aot=off"]
    return [*_WHERE_IT_WAS_MADE_FOR, f"-XX:SharedArchiveFile={path}", "-Xlog:cds=off", "-Xlog:cds+dynamic=off"]


def options_to_make(path: str, java: int) -> list[str]:
    """The options for a run that writes an archive when Java ends in good order, or a list of classes before `write`."""
    return [f"-XX:AOTCacheOutput={path}" if java >= _AHEAD_OF_TIME else f"-XX:DumpLoadedClassList={path}{_CLASSES}"]


def writes_by_itself(java: int) -> bool:
    """Whether Java writes the archive when it ends; else it is to be written from the list of classes."""
    return java >= _AHEAD_OF_TIME


def write(path: str, java_home: str, arguments: list[str], class_path: str) -> None:
    """Write an archive from the list of classes. Blocks for half a minute; that it failed shows in the missing file.

    Args:
        arguments: of the virtual machine that has made the list: those that decide how classes are laid out must be the same.
        class_path: its class path, in the same order.
    """
    java = os.path.join(java_home, "bin", "java.exe" if os.name == "nt" else "java")
    options = [argument for argument in arguments if not argument.startswith(_NOT_FOR_WRITING)]
    ours = ["-Xshare:dump", f"-XX:SharedClassListFile={path}{_CLASSES}", f"-XX:SharedArchiveFile={path}", "-cp", class_path]
    null = subprocess.DEVNULL
    with contextlib.suppress(OSError):
        subprocess.run([java, *options, *ours], stdin=null, stdout=null, stderr=null, check=False)


def _is_ours(path: str) -> bool:
    """Whether a file or folder is this user's, and nobody else may write there: Java runs what it finds in an archive."""
    try:
        status = os.stat(path)
    except OSError:
        return False
    return os.name != "posix" or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def begin(path: str) -> str | None:
    """Take the right to make an archive, and the path to write it to; None if it is there, being made, or failed lately."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    if os.path.exists(path) or _is_younger(path + ".failed", _RETRY_AFTER_S):
        return None
    lock = path + ".lock"
    if not _is_younger(lock, _LOCKED_FOR_S):
        _remove(lock)
    try:
        os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError:
        return None
    return f"{path}.{os.getpid()}.new"


def finish(path: str, made: str) -> bool:
    """Put a new archive into place and remove those unused longest; False, and noted as failed, where none was written."""
    done = os.path.exists(made) and os.path.getsize(made) > 0
    if done:
        os.chmod(made, 0o600)
        os.replace(made, path)
        _remove(path + ".failed")
    else:
        with contextlib.suppress(OSError), open(path + ".failed", "w", encoding="ascii"):
            pass
    give_up(path, made)
    for old in sorted(finished(os.path.dirname(path)), key=_age)[MOST_KEPT:]:
        _remove(old)
    for old in sorted(_kept_formulas(os.path.dirname(path)), key=_age)[MOST_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    return done


def give_up(path: str, made: str) -> None:
    """Leave nothing of what was begun."""
    for leftover in glob.glob(glob.escape(made) + "*"):  # Java 25 writes a second file beside it
        _remove(leftover)
    _remove(path + ".lock")


def discard(path: str) -> None:
    """Remove an archive that may be broken; the next one is made as if there had been none."""
    _remove(path)


def finished(folder: str) -> list[str]:
    """The archives that there are."""
    return glob.glob(os.path.join(glob.escape(folder), "*" + _SUFFIX))


def forget_failures(folder: str) -> None:
    """Let an archive be made also where that failed lately."""
    for file in glob.glob(os.path.join(glob.escape(folder), f"*{_SUFFIX}.failed")):
        _remove(file)


def _kept_formulas(folder: str) -> list[str]:
    return glob.glob(os.path.join(glob.escape(folder), _FORMULAS + "*"))


def clear(folder: str) -> int:
    """Remove all archives and the formulas that are kept beside them; how many archives there were."""
    count = len(finished(folder))
    for kept in _kept_formulas(folder):
        shutil.rmtree(kept, ignore_errors=True)
    for file in glob.glob(os.path.join(glob.escape(folder), f"*{_SUFFIX}*")):
        _remove(file)
    return count


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return float("inf")


def _is_younger(path: str, seconds: float) -> bool:
    return _age(path) < seconds


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.remove(path)
