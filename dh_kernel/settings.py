"""What the user may set, where each value came from, and what is wrong with it.

Job: read the command line, the environment and Jupyter's configuration files, check every value, and hand out one frozen
`Settings`. Precedence: command line > kernelspec > environment > configuration file > default. A kernelspec that `install`
wrote says which variables are its own. What is only for a launched server (a heap) contradicts a server to attach to, and is
an error, where both are said at one place, or it is on the command line; else it does not count.
Neighbours: `attaching` for the server that runs already, `errors` for the one error; traitlets for types and help texts.
`__main__` reads the settings before it imports ipykernel, so that the server starts first: this module must stay cheap to
import. Refuses to know: IPython, ipykernel, jupyter_client, processes and the network. A key is read here and leaves only
inside `Settings.endpoint`; no error, repr or warning made here holds one.
"""

from __future__ import annotations

import difflib
import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from traitlets import Bool, Float, Int, List, TraitError
from traitlets.config import Config
from traitlets.config.loader import ConfigFileNotFound, JSONFileConfigLoader, LazyConfigValue, PyFileConfigLoader

from dh_kernel.attaching import KEY_VARIABLE, Given, Level, Values, endpoint_of
from dh_kernel.checks import heap_mb
from dh_kernel.credentials import Secrets
from dh_kernel.declarations import (
    ATTACHED,
    DECLARATIONS,
    FIELDS,
    LAUNCHED,
    PREFIX,
    TABLE_SETTINGS,
    VARIABLES,
    KernelSettings,
    Settings,
)
from dh_kernel.errors import SettingsError
from dh_kernel.model import Endpoint

CONFIG_NAME = "jupyter_dh_kernel_config"
__all__ = [
    "KERNELSPEC_VARIABLE",
    "PREFIX",
    "TABLE_SETTINGS",
    "VARIABLES",
    "KernelSettings",
    "Settings",
    "as_arguments",
    "heap_mb",
    "load_settings",
    "withhold",
]

KERNELSPEC_VARIABLE = "DH_KERNEL_OF_KERNELSPEC"
"""The variables, without their prefix, that a kernelspec has set: so they can be told from the user's own."""
_OPTION = "--KernelSettings."


# Variables of scripts/ in this checkout: a kernel that a test or `scripts/quickstart` starts inherits them.
_VARIABLES_OF_SCRIPTS = frozenset({"DH_KERNEL_VENV", "DH_KERNEL_VANILLA_PYTHON", "DH_KERNEL_PLUGINS_PYTHON"})


def load_settings(
    argv: Sequence[str],
    environ: Mapping[str, str],
    config_dirs: Sequence[str] | None = None,
    secrets: Secrets | None = None,
) -> tuple[Settings, SettingsError | None]:
    """Read and check all settings. Never raises: a kernel with bad settings lives, and shows the error in its first cell.

    Args:
        argv: the command line without the program; what does not start with `--KernelSettings.` is not looked at.
        config_dirs: where `jupyter_dh_kernel_config.py` and `.json` may be, most important first; None: Jupyter's config path.
        secrets: who reads keys and certificates; None: from files, `environ` and the keyring.
    Returns:
        Settings with every good value, and one error that tells all that is wrong, a line each. Where there is an error, no
        server may be launched or attached: the value that was wrong may be the one that names the server.
    """
    problems: list[str] = []
    given = _from_files(jupyter_config_dirs() if config_dirs is None else config_dirs, problems)
    given.update(_from_environment(environ, problems))
    given.update(_from_command_line(argv, problems))
    settings = _Checker(given, environ, secrets or Secrets(environ), problems).settings()
    return settings, SettingsError("\n".join(problems)) if problems else None


def jupyter_config_dirs() -> list[str]:
    """Jupyter's config path, most important first."""
    from jupyter_core.paths import jupyter_config_path

    return jupyter_config_path()


# Where values come from


def _from_files(directories: Sequence[str], problems: list[str]) -> dict[str, Given]:
    merged = Config()
    sources: dict[str, str] = {}
    for directory in reversed(directories):  # JSON after Python, as other Jupyter applications do
        for loader in (PyFileConfigLoader, JSONFileConfigLoader):
            suffix = ".py" if loader is PyFileConfigLoader else ".json"
            path = os.path.join(directory, CONFIG_NAME + suffix)
            section = _read_file(loader(CONFIG_NAME + suffix, directory), path, problems)
            sources.update(dict.fromkeys(section, path))
            merged.merge(Config(KernelSettings=section))
    given: dict[str, Given] = {}
    for name, value in merged.get("KernelSettings", {}).items():
        source = f"c.KernelSettings.{name} in {sources[name]}"
        if name not in VARIABLES:
            problems.append(_unknown_trait(source, name))
            continue
        given[name] = Given(value.get_value([]) if isinstance(value, LazyConfigValue) else value, source, Level.FILE)
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


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> dict[str, Given]:
    known = {*VARIABLES.values(), KEY_VARIABLE}
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and variable not in known | _VARIABLES_OF_SCRIPTS | {KERNELSPEC_VARIABLE}:
            problems.append(f"{variable} is not a setting.{_closest(variable, known)}")
    of_kernelspec = {PREFIX + name for name in environ.get(KERNELSPEC_VARIABLE, "").split()}
    given: dict[str, Given] = {}
    for name, variable in VARIABLES.items():
        if environ.get(variable, "").strip():
            level = Level.KERNELSPEC if variable in of_kernelspec else Level.ENVIRONMENT
            _add_text(given, name, [environ[variable]], variable, level, problems)
    if environ.get(KEY_VARIABLE, "").strip():
        given["key"] = Given(True, KEY_VARIABLE, Level.ENVIRONMENT)
    return given


def withhold(settings: Settings) -> None:
    """Keep the variables that held a secret from all that this process starts."""
    for name in settings.withheld:
        os.environ.pop(name, None)


def as_arguments(settings: Mapping[str, Sequence[str]]) -> list[str]:
    """Settings as a kernel's command line has them. Nothing in them may be a secret: everybody can read that."""
    return [f"{_OPTION}{name}={text}" for name, texts in settings.items() for text in texts]


def _from_command_line(argv: Sequence[str], problems: list[str]) -> dict[str, Given]:
    option = _OPTION
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
    given: dict[str, Given] = {}
    for name, values in texts.items():
        _add_text(given, name, values, option + name, Level.COMMAND_LINE, problems)
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


def _add_text(given: dict[str, Given], name: str, texts: list[str], source: str, level: Level, problems: list[str]) -> None:
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
        given[name] = Given(value, source, level)


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError(text)


# What values mean


def _converted(name: str, value: Any) -> Any:
    """A value as its trait has it: a configuration file may hold any type."""
    try:
        return getattr(KernelSettings(**{name: value}), name)
    except TraitError:
        wanted = KernelSettings.class_traits()[name].info()
        raise SettingsError(f"must be {wanted}, not {type(value).__name__}.") from None


class _Checker:
    """Turns what was given into `Settings`; each complaint is one entry in `problems`, and leaves the default in place."""

    def __init__(self, given: Mapping[str, Given], environ: Mapping[str, str], secrets: Secrets, problems: list[str]) -> None:
        self._environ, self._secrets, self._problems = environ, secrets, problems
        self._secrets.variable(KEY_VARIABLE)  # withheld also where it is not used
        spelled = {**VARIABLES, "key": KEY_VARIABLE}
        self._values = Values(given, problems, spelled.__getitem__, _converted)

    def settings(self) -> Settings:
        endpoint = endpoint_of(self._values, self._secrets)
        self._contradictions(endpoint)
        default = Settings()
        values: dict[str, Any] = {}
        for field, declared in FIELDS.items():
            otherwise = self._environ.get(declared.fallback, "").strip() or getattr(default, field)
            values[field] = self._values.checked(declared.name, declared.check, otherwise)
        warnings, withheld = tuple(self._secrets.warnings), dict(self._secrets.taken)
        return Settings(endpoint=endpoint, warnings=warnings, withheld=withheld, **values)

    def _contradictions(self, endpoint: Endpoint | None) -> None:
        packages = self._values.given("deephaven_packages")
        if packages is not None and self._values.given("deephaven_version") is None:
            self._problems.append(
                f"{packages.source}: packages are installed beside a version of Deephaven: name one in"
                f" {VARIABLES['deephaven_version']}."
            )
        server = self._values.given("server")
        if server is not None and endpoint is not None:
            for given in self._given_only(LAUNCHED):
                # A kernelspec may have a heap for when no server is named around it.
                if given.level in (server.level, Level.COMMAND_LINE):
                    self._problems.append(
                        f"{given.source} is for a server that the kernel launches, and {server.source} attaches to one that"
                        " runs already: leave one of them out."
                    )
        packages = self._values.given("deephaven_packages")
        if packages is not None and self._values.given("deephaven_version") is None:
            self._problems.append(
                f"{packages.source}: packages are installed beside a version of Deephaven: set"
                f" {VARIABLES['deephaven_version']} too."
            )
        if server is None:
            for given in self._given_only(ATTACHED):
                if given.level >= Level.KERNELSPEC:  # further away it is a habit, for when there is one
                    self._problems.append(
                        f"{given.source} is for a server that runs already: name that too, in {VARIABLES['server']}."
                    )

    def _given_only(self, kind: str) -> list[Given]:
        """What was given that is for one kind of servers only."""
        found = [self._values.given(each.name) for each in DECLARATIONS if each.only == kind]
        return [given for given in found if given is not None]
