"""What the user may set, where each value came from, and what is wrong with it.

Job: read the command line, the environment and Jupyter's configuration files, check every value, and hand out one frozen
`Settings`. Precedence: command line > environment > configuration file > default.
Neighbours: `model` for the endpoint, `errors` for the one error; traitlets for types and help texts. `__main__` reads the
settings before it imports ipykernel, so that the server starts first: this module must stay cheap to import.
Refuses to know: IPython, ipykernel, jupyter_client, processes and the network. A key is read here and leaves only inside
`Settings.endpoint`; no error, repr or warning made here holds one.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from traitlets import Bool, Float, Int, List, TraitError, Unicode
from traitlets.config import Config, Configurable
from traitlets.config.loader import ConfigFileNotFound, JSONFileConfigLoader, LazyConfigValue, PyFileConfigLoader

from dh_kernel.errors import SettingsError
from dh_kernel.model import PSK_AUTH_TYPE, Endpoint

CONFIG_NAME = "jupyter_dh_kernel_config"
KEY_VARIABLE = "DH_KERNEL_KEY"
_PREFIX = "DH_KERNEL_"

T = TypeVar("T")


class KernelSettings(Configurable):
    """The options as traitlets knows them: raw values with their help texts. `Settings` has the checked ones."""

    server = Unicode(
        "", help="Attach to the Deephaven server at this 'host:port'; empty: launch one for this kernel alone."
    ).tag(config=True)
    auth_type = Unicode(
        "",
        help="How to authenticate at an attached server: 'psk', 'anonymous', 'basic', or the class name of a handler."
        " Default: psk if a key is given, else anonymous.",
    ).tag(config=True)
    key_file = Unicode(
        "",
        help="File that holds the key of an attached server ('user:password' for basic), readable by its owner only."
        " The key itself can be given in the environment variable DH_KERNEL_KEY, which wins over a file named in the"
        " environment or in a configuration file.",
    ).tag(config=True)
    python = Unicode(
        "", help="Python interpreter for a launched server; its environment needs deephaven-server. Default: the kernel's."
    ).tag(config=True)
    java_home = Unicode("", help="JDK for a launched server. Default: JAVA_HOME, PATH, the usual places.").tag(config=True)
    heap = Unicode(
        "",
        help="Java heap of a launched server: '4g', '512m'. Default: a quarter of the memory, more on small machines.",
    ).tag(config=True)
    jvm_args = List(Unicode(), help="More options for the Java virtual machine of a launched server.").tag(config=True)
    port = Int(0, help="Port of a launched server on 127.0.0.1; 0: any free one.").tag(config=True)
    start_timeout_s = Float(120.0, help="Seconds a server may take until it is ready.").tag(config=True)
    class_archive = Bool(
        True,
        help="Start launched servers from an archive of Java's classes, which is made once, some time after the first start,"
        " and kept in the user's cache folder.",
    ).tag(config=True)
    deephaven_version = Unicode(
        "",
        help="Launch servers of this version, '41.11', in an environment that is installed once, in the user's cache folder,"
        " with the Python that `python` names.",
    ).tag(config=True)
    deephaven_packages = List(
        Unicode(), help="What else is installed there, as pip takes it: 'deephaven-plugin-ui', 'matplotlib>=3.8'."
    ).tag(config=True)
    standby = Int(
        0,
        help="How many spare servers wait for this user's next kernels, each with some 700 MB of memory; 0: none.",
    ).tag(config=True)
    standby_idle_s = Float(3600.0, help="Seconds after which spare servers end when no kernel has been started.").tag(
        config=True
    )
    show_tables = Bool(True, help="Show the tables that a cell assigned at its end.").tag(config=True)
    max_tables = Int(1000, help="How many of them a cell shows at most; a line tells of the rest.").tag(config=True)
    rows = Int(10, help="Rows of a table's preview.").tag(config=True)
    time_zone = Unicode("UTC", help="Time zone in which instants show: 'Europe/Berlin'.").tag(config=True)
    columns = Int(20, help="Columns of a table's preview.").tag(config=True)
    depth = Int(1, help="Levels of a tree table that are expanded.").tag(config=True)
    live = Bool(True, help="Outputs of refreshing tables follow their tables.").tag(config=True)
    live_interval_s = Float(1.0, help="Least seconds between two updates of a live output.").tag(config=True)
    live_time_s = Float(1800.0, help="Seconds that an output follows its table; what is shown last stays.").tag(config=True)
    live_outputs = Int(20, help="How many outputs follow their tables at a time, the latest ones.").tag(config=True)
    browser_url = Unicode(
        "",
        help="Where a browser reaches the server's own pages, for %dh grid: 'https://dh.example.org', an origin without a"
        " path. Default: http:// with the server's host and port.",
    ).tag(config=True)
    interrupt_grace_s = Float(1.0, help="Seconds until an interrupted cell that does not stop is abandoned.").tag(config=True)
    private_names = Bool(
        False,
        help="On an attached server: variables of the kernel's own, which end with it, instead of the server's global ones.",
    ).tag(config=True)
    timings = Bool(False, help="Tell under the first cell where the time of the start went.").tag(config=True)
    debug = Bool(False, help="Write more to the kernel's log, the messages with their code among it.").tag(config=True)


VARIABLES: Mapping[str, str] = {
    "server": "DH_KERNEL_SERVER",
    "auth_type": "DH_KERNEL_AUTH_TYPE",
    "key_file": "DH_KERNEL_KEY_FILE",
    "python": "DH_KERNEL_PYTHON",
    "java_home": "DH_KERNEL_JAVA_HOME",
    "heap": "DH_KERNEL_HEAP",
    "jvm_args": "DH_KERNEL_JVM_ARGS",
    "port": "DH_KERNEL_PORT",
    "start_timeout_s": "DH_KERNEL_START_TIMEOUT",
    "class_archive": "DH_KERNEL_CLASS_ARCHIVE",
    "deephaven_version": "DH_KERNEL_DEEPHAVEN_VERSION",
    "deephaven_packages": "DH_KERNEL_DEEPHAVEN_PACKAGES",
    "standby": "DH_KERNEL_STANDBY",
    "standby_idle_s": "DH_KERNEL_STANDBY_IDLE",
    "show_tables": "DH_KERNEL_SHOW_TABLES",
    "max_tables": "DH_KERNEL_MAX_TABLES",
    "rows": "DH_KERNEL_ROWS",
    "time_zone": "DH_KERNEL_TIME_ZONE",
    "columns": "DH_KERNEL_COLUMNS",
    "depth": "DH_KERNEL_DEPTH",
    "live": "DH_KERNEL_LIVE",
    "live_interval_s": "DH_KERNEL_LIVE_INTERVAL",
    "live_time_s": "DH_KERNEL_LIVE_TIME",
    "live_outputs": "DH_KERNEL_LIVE_OUTPUTS",
    "browser_url": "DH_KERNEL_BROWSER_URL",
    "interrupt_grace_s": "DH_KERNEL_INTERRUPT_GRACE",
    "private_names": "DH_KERNEL_PRIVATE_NAMES",
    "timings": "DH_KERNEL_TIMINGS",
    "debug": "DH_KERNEL_DEBUG",
}
"""The environment variable of each trait of `KernelSettings`."""

TABLE_SETTINGS = (
    "show_tables",
    "max_tables",
    "rows",
    "columns",
    "depth",
    "live",
    "live_interval_s",
    "live_time_s",
    "live_outputs",
)
"""What a cell may change by `%dh set`."""

# Variables of scripts/ in this checkout: a kernel that a test or `scripts/quickstart` starts inherits them.
_VARIABLES_OF_SCRIPTS = frozenset({"DH_KERNEL_VENV", "DH_KERNEL_VANILLA_PYTHON"})


@dataclass(frozen=True)
class Settings:
    """The checked values. `endpoint` None: launch a server; the fields down to `port` are only for a launched one.

    `warnings` are for the user's eyes, once; the values can be used all the same.
    """

    endpoint: Endpoint | None = None
    python: str = sys.executable
    java_home: str | None = None
    heap_mb: int | None = None
    jvm_args: tuple[str, ...] = ()
    port: int = 0
    start_timeout_s: float = 120.0
    class_archive: bool = True
    deephaven_version: str = ""
    deephaven_packages: tuple[str, ...] = ()
    standby: int = 0
    standby_idle_s: float = 3600.0
    show_tables: bool = True
    max_tables: int = 1000
    rows: int = 10
    time_zone: str = "UTC"
    columns: int = 20
    depth: int = 1
    live: bool = True
    live_interval_s: float = 1.0
    live_time_s: float = 1800.0
    live_outputs: int = 20
    browser_url: str = ""
    interrupt_grace_s: float = 1.0
    private_names: bool = False
    timings: bool = False
    debug: bool = False
    warnings: tuple[str, ...] = ()

    def for_tables(self) -> dict[str, Any]:
        """How tables show, for the server's end of a session: its `Preferences`, which have the same names."""
        return {name: getattr(self, name) for name in TABLE_SETTINGS}


def load_settings(
    argv: Sequence[str], environ: Mapping[str, str], config_dirs: Sequence[str] | None = None
) -> tuple[Settings, SettingsError | None]:
    """Read and check all settings. Never raises: a kernel with bad settings lives, and shows the error in its first cell.

    Args:
        argv: the command line without the program; what does not start with `--KernelSettings.` is not looked at.
        config_dirs: where `jupyter_dh_kernel_config.py` and `.json` may be, most important first; None: Jupyter's config path.
    Returns:
        Settings with every good value, and one error that tells all that is wrong, a line each. Where there is an error, no
        server may be launched or attached: the value that was wrong may be the one that names the server.
    """
    problems: list[str] = []
    given = _from_files(jupyter_config_dirs() if config_dirs is None else config_dirs, problems)
    given.update(_from_environment(environ, problems))
    given.update(_from_command_line(argv, problems))
    settings = _Checker(given, environ, problems).settings()
    return settings, SettingsError("\n".join(problems)) if problems else None


def jupyter_config_dirs() -> list[str]:
    """Jupyter's config path, most important first."""
    from jupyter_core.paths import jupyter_config_path

    return jupyter_config_path()


# Where values come from


@dataclass(frozen=True)
class _Given:
    """One value as the user gave it, and how to name that place in an error: `DH_KERNEL_HEAP`, `--KernelSettings.heap` …"""

    value: Any
    source: str


def _from_files(directories: Sequence[str], problems: list[str]) -> dict[str, _Given]:
    merged = Config()
    sources: dict[str, str] = {}
    for directory in reversed(directories):  # JSON after Python, as other Jupyter applications do
        for loader in (PyFileConfigLoader, JSONFileConfigLoader):
            suffix = ".py" if loader is PyFileConfigLoader else ".json"
            path = os.path.join(directory, CONFIG_NAME + suffix)
            section = _read_file(loader(CONFIG_NAME + suffix, directory), path, problems)
            sources.update(dict.fromkeys(section, path))
            merged.merge(Config(KernelSettings=section))
    given: dict[str, _Given] = {}
    for name, value in merged.get("KernelSettings", {}).items():
        source = f"c.KernelSettings.{name} in {sources[name]}"
        if name not in VARIABLES:
            problems.append(_unknown_trait(source, name))
            continue
        given[name] = _Given(value.get_value([]) if isinstance(value, LazyConfigValue) else value, source)
    return given


def _read_file(loader: PyFileConfigLoader | JSONFileConfigLoader, path: str, problems: list[str]) -> Config:
    try:
        loaded = loader.load_config()
    except ConfigFileNotFound:
        return Config()
    except (Exception, SystemExit) as error:  # the file is the user's code: it may raise anything
        problems.append(f"The configuration file {path} cannot be read: {type(error).__name__}. Correct or remove it.")
        return Config()
    section = loaded.get("KernelSettings", {})
    return section if isinstance(section, Config) else Config()


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, _Given]:
    known = {*VARIABLES.values(), KEY_VARIABLE}
    for variable in sorted(environ):
        if variable.startswith(_PREFIX) and variable not in known | _VARIABLES_OF_SCRIPTS:
            problems.append(f"{variable} is not a setting.{_closest(variable, known)}")
    given: dict[str, _Given] = {}
    for name, variable in VARIABLES.items():
        if environ.get(variable, "").strip():
            _add_text(given, name, [environ[variable]], variable, problems)
    return given


def _from_command_line(argv: Sequence[str], problems: list[str]) -> dict[str, _Given]:
    option = "--KernelSettings."
    texts: dict[str, list[str]] = {}
    arguments = iter(argv)
    for argument in arguments:
        if not argument.startswith(option):
            continue
        name, equals, text = argument.removeprefix(option).partition("=")
        value = text if equals else next(arguments, None)
        if name not in VARIABLES:
            problems.append(_unknown_trait(option + name, name))
        elif value is None:
            problems.append(f"{option}{name} has no value. Write {option}{name}=…")
        else:
            texts.setdefault(name, []).append(value)
    given: dict[str, _Given] = {}
    for name, values in texts.items():
        _add_text(given, name, values, option + name, problems)
    return given


def _unknown_trait(source: str, name: str) -> str:
    if name in ("key", "auth_token", "psk", "password"):
        return (
            f"{source}: a key is never set there, where others can read it."
            f" Put it into a file and name that in key_file, or set {KEY_VARIABLE}."
        )
    return f"{source} is not a setting.{_closest(name, VARIABLES)}"


def _closest(name: str, known: Mapping[str, str] | set[str]) -> str:
    matches = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]}?" if matches else f" The settings are {', '.join(sorted(known))}."


def _add_text(given: dict[str, _Given], name: str, texts: list[str], source: str, problems: list[str]) -> None:
    """Convert texts to the trait's type; a list takes all of them, anything else the last."""
    trait = KernelSettings.class_traits()[name]
    text = texts[-1].strip()
    try:
        if isinstance(trait, List):
            value: Any = [word for one in texts for word in shlex.split(one)]
        elif isinstance(trait, Bool):
            value = _flag(text)
        elif isinstance(trait, Int):
            value = int(text)
        elif isinstance(trait, Float):
            value = float(text)
        else:
            value = text
    except ValueError:
        wanted = {List: "a list, quoted as in a shell", Bool: "1 or 0", Int: "a whole number", Float: "a number"}
        shown = "" if isinstance(trait, List) else f", not {text!r}"
        problems.append(f"{source} must be {wanted[type(trait)]}{shown}.")
    else:
        given[name] = _Given(value, source)


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)


# What values mean


class _Checker:
    """Turns what was given into `Settings`; each complaint is one entry in `problems`, and leaves the default in place."""

    def __init__(self, given: Mapping[str, _Given], environ: Mapping[str, str], problems: list[str]) -> None:
        self._given = given
        self._environ = environ
        self._problems = problems
        self._warnings: list[str] = []

    def settings(self) -> Settings:
        default = Settings()
        return Settings(
            endpoint=self._endpoint(),
            python=self._checked("python", executable_path, default.python),
            java_home=self._checked("java_home", java_home_path, None),
            heap_mb=self._checked("heap", heap_mb, None),
            jvm_args=self._checked("jvm_args", checked_jvm_args, ()),
            port=self._checked("port", _number(0, 65535), default.port),
            start_timeout_s=self._checked("start_timeout_s", _number(1, 3600), default.start_timeout_s),
            class_archive=self._checked("class_archive", bool, default.class_archive),
            deephaven_version=self._checked("deephaven_version", deephaven_version, default.deephaven_version),
            deephaven_packages=self._packages(),
            standby=self._checked("standby", _number(0, 8), default.standby),
            standby_idle_s=self._checked("standby_idle_s", _number(1, 30 * 86_400), default.standby_idle_s),
            show_tables=self._checked("show_tables", bool, default.show_tables),
            max_tables=self._checked("max_tables", _number(0, 10_000), default.max_tables),
            rows=self._checked("rows", _number(1, 10_000), default.rows),
            time_zone=self._checked("time_zone", _zone, default.time_zone),
            columns=self._checked("columns", _number(1, 10_000), default.columns),
            depth=self._checked("depth", _number(0, 20), default.depth),
            live=self._checked("live", bool, default.live),
            live_interval_s=self._checked("live_interval_s", _number(0.1, 3600), default.live_interval_s),
            live_time_s=self._checked("live_time_s", _number(0, 7 * 86_400), default.live_time_s),
            live_outputs=self._checked("live_outputs", _number(0, 1000), default.live_outputs),
            browser_url=self._checked("browser_url", origin, default.browser_url),
            interrupt_grace_s=self._checked("interrupt_grace_s", _number(0, 3600), default.interrupt_grace_s),
            private_names=self._checked("private_names", bool, default.private_names),
            timings=self._checked("timings", bool, default.timings),
            debug=self._checked("debug", bool, default.debug),
            warnings=tuple(self._warnings),
        )

    def _checked(self, name: str, check: Callable[[Any], T], default: T) -> T:
        given = self._given.get(name)
        if given is None or given.value in ("", []):
            return default
        try:
            value = getattr(KernelSettings(**{name: given.value}), name)  # a configuration file may hold any type
        except TraitError:
            wanted = KernelSettings.class_traits()[name].info()
            self._problems.append(f"{given.source} must be {wanted}, not {type(given.value).__name__}.")
            return default
        try:
            return check(value)
        except SettingsError as error:
            self._problems.append(f"{given.source}: {error}")
            return default

    def _packages(self) -> tuple[str, ...]:
        packages: tuple[str, ...] = self._checked("deephaven_packages", requirements, ())
        if packages and "deephaven_version" not in self._given:
            self._problems.append(
                f"{self._given['deephaven_packages'].source}: packages are installed beside a version of Deephaven: set"
                f" {VARIABLES['deephaven_version']} too."
            )
        return packages

    def _endpoint(self) -> Endpoint | None:
        address = self._checked("server", host_and_port, None)
        if address is None:
            return None
        key = self._key()
        auth_type = self._checked("auth_type", full_auth_type, PSK_AUTH_TYPE if key else "Anonymous")
        if auth_type in (PSK_AUTH_TYPE, "Basic") and key == "":
            self._problems.append(
                f"The authentication type {self._given['auth_type'].value} needs a key, and there is none."
                f" Name a file that holds it in {VARIABLES['key_file']}, or set {KEY_VARIABLE}."
            )
        return Endpoint(*address, auth_type=auth_type, auth_token="" if auth_type == "Anonymous" else key or "")

    def _key(self) -> str | None:
        """The key, an empty text where there is none, None where it should have been but could not be read."""
        key_file = self._given.get("key_file")
        on_command_line = key_file is not None and key_file.source.startswith("--")
        key = self._environ.get(KEY_VARIABLE, "").strip()
        if key and not on_command_line:
            return key
        return self._checked("key_file", lambda name: read_key(name, self._warnings), None) if key_file is not None else ""


def read_key(name: str, warnings: list[str]) -> str:
    """The key in a file; a warning is added where others can read it.

    Raises:
        SettingsError: there is none.
    """
    path = Path(name).expanduser()
    try:
        key = path.read_text("utf-8").strip()
        mode = path.stat().st_mode
    except UnicodeDecodeError:
        raise SettingsError(f"the key file {path} is not text.") from None
    except OSError as error:
        raise SettingsError(f"the key file {path} cannot be read: {error.strerror}.") from None
    if not key:
        raise SettingsError(f"the key file {path} is empty.")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        warnings.append(f"The key file {path} can be read by other users: chmod 600 {shlex.quote(str(path))}")
    return key


def _number(least: float, most: float) -> Callable[[Any], Any]:
    def check(value: float) -> float:
        if not least <= value <= most:  # also refuses NaN
            raise SettingsError(f"{value} is not between {least} and {most}.")
        return value

    return check


def _zone(name: str) -> str:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # not found (a KeyError), a folder, a malformed name
        raise SettingsError(f"{name!r} is no time zone that is known here: write 'Europe/Berlin', or 'UTC'.") from None
    return name


def host_and_port(text: str) -> tuple[str, int]:
    """Split `host:port`. An IPv6 address keeps its brackets, as gRPC wants them in a target.

    Raises:
        SettingsError: telling what to write. It shows no part of the text where users paste a key: `?psk=…`, `user:password@`.
    """
    address = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://", "", text.strip())
    address = re.split(r"[/?#]", address, maxsplit=1)[0].rpartition("@")[2]
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+):([0-9]+)", address)
    if match and address != text.strip():
        raise SettingsError(f"write {address}, without a scheme, a path or a key.")
    if match and 0 < int(match[2]) <= 65535:
        return match[1], int(match[2])
    if match:
        raise SettingsError(f"the port {match[2]} in {address} is not between 1 and 65535.")
    if address.count(":") > 1 and not address.startswith("["):
        raise SettingsError(f"{address!r} has no port that can be told from it: write an IPv6 address as [::1]:10000.")
    host = address.partition(":")[0] if not address.startswith("[") else address
    raise SettingsError(f"{address!r} is not a host and a port: write {host or 'localhost'}:10000, with the server's port.")


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


def full_auth_type(name: str) -> str:
    """The name that a server knows for `psk`, `anonymous` and `basic`; others are as they are."""
    return {"psk": PSK_AUTH_TYPE, "anonymous": "Anonymous", "basic": "Basic"}.get(name.strip().lower(), name.strip())


def heap_mb(text: str) -> int:
    """Mebibytes of a Java size such as `4g`, `1500m`, `4 GB`."""
    match = re.fullmatch(r"([0-9]+)\s*(m|g|t)(i?b)?", text.strip().lower())
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
    path = Path(text).expanduser()
    if not path.is_dir():
        raise SettingsError(f"{text!r} is not a directory: write the directory of a JDK, the one that has bin/java in it.")
    return os.path.abspath(path)
