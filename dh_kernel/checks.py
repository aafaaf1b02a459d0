"""What the values of settings have to be like: one function each, from a value of the right type to the checked one.

Pure, but for looks at the file system. Neighbours: `declarations` names them. Each raises `SettingsError` with what to write,
and nothing else: so `os.path`, since `Path` raises for names that are too long, or whose folder nobody may look into, and for
homes that are not known.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from typing import Any

from dh_kernel.errors import SettingsError


def number(least: float, most: float) -> Callable[[Any], Any]:
    """Between these two, themselves included."""

    def check(value: float) -> float:
        if not least <= value <= most:  # also refuses NaN
            raise SettingsError(f"{value} is not between {least} and {most}.")
        return value

    return check


def restart(name: str) -> str:
    """What the next cell does after a death."""
    if name not in ("automatic", "ask", "never"):
        raise SettingsError(f"{name!r} is none of automatic, ask, never.")
    return name


def time_zone(name: str) -> str:
    """The name of a time zone that is known here."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # not found (a KeyError), a folder, a malformed name
        raise SettingsError(f"{name!r} is no time zone that is known here: write 'Europe/Berlin', or 'UTC'.") from None
    return name


def origin(text: str) -> str:
    """Scheme, host and port of an address that a browser uses.

    Raises:
        SettingsError: it is no such address, or has a path: Deephaven's pages want to be at the root of their origin.
    """
    match = re.fullmatch(r"(https?://[^\s/?#@]+)/?", text.strip())
    if match is None:
        raise SettingsError(
            "write an origin, https://dh.example.org or http://localhost:10000, without a path and without a key: behind a"
            " path (https://example.org/dh) Deephaven's own pages do not work."
        )
    return match[1]


def heap_mb(text: str) -> int:
    """Mebibytes of a Java size such as `4g`, `1500m`, `4 GB`."""
    match = re.fullmatch(r"([0-9]{1,12})\s*(m|g|t)(i?b)?", text.strip().lower())
    size = int(match[1]) * {"m": 1, "g": 1024, "t": 1024 * 1024}[match[2]] if match else 0
    if not size:
        raise SettingsError(f"{text!r} is not a size of memory: write 4g or 512m.")
    return size


def checked_jvm_args(arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments, each of which must be an option: Java takes the first other word for the name of a class to run."""
    for number, argument in enumerate(arguments, 1):
        if not argument.startswith("-"):
            raise SettingsError(f"argument {number} does not start with '-': options for Java look like -Xss2m.")
    return tuple(arguments)


def deephaven_version(text: str) -> str:
    """A version as the package index has it."""
    if not re.fullmatch(r"[0-9]+(\.[0-9]+)+((a|b|rc|\.post|\.dev)[0-9]+)?", text.strip()):
        raise SettingsError(f"{text!r} is no version: write 41.11, or 42.7.")
    return text.strip()


def requirements(texts: Sequence[str]) -> tuple[str, ...]:
    """What pip is given, each of which must be a package: options would change more than an environment."""
    for text in texts:
        if not re.match(r"[A-Za-z0-9._/~]", text):
            raise SettingsError(f"{text!r} is no package: write names and versions, 'deephaven-plugin-ui>=0.20'.")
    return tuple(texts)


def executable_path(text: str) -> str:
    """Absolute path of an interpreter, given as a path or as a name on PATH. Symbolic links stay: they make a venv."""
    found = shutil.which(os.path.expanduser(text))
    if found is None:
        raise SettingsError(f"{text!r} is not a program that can be run: write the full path of a Python interpreter.")
    return os.path.abspath(found)


def java_home_path(text: str) -> str:
    """Absolute path of the directory of a JDK."""
    path = os.path.expanduser(text)
    if not os.path.isdir(path):
        raise SettingsError(f"{text!r} is not a directory: write the directory of a JDK, the one that has bin/java in it.")
    return os.path.abspath(path)
