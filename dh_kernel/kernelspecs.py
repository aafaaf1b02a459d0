"""The kernelspecs of this kernel that Jupyter finds: which there are, where they lead, what is wrong with them; and their end.

Neighbours: `install` writes them; `cli` and `doctor` ask here. Refuses to touch kernelspecs of other kernels, and to show more
of an environment than the names of its variables and the values of known settings.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from dh_kernel.attaching import HIDDEN, KEY_VARIABLE, header_name, may_be_shown
from dh_kernel.credentials import Unread
from dh_kernel.errors import SettingsError
from dh_kernel.settings import KERNELSPEC_VARIABLE, PREFIX, VARIABLES, Settings, load_settings, withhold

_MODULE = "dh_kernel"
_FILES = ("key_file", "tls_ca_cert", "tls_client_cert", "tls_client_key")
_USER_IN_URL = re.compile(r"://[^\s/]*@")
_SECRET_PROPERTY = re.compile(r"-D[^\s=]*(psk|pass|pwd|secret|token|credential)[^\s=]*=", re.IGNORECASE)
_OPTION = re.compile(r"--KernelSettings\.(\w+)=(.*)", re.DOTALL)


@dataclass(frozen=True)
class Spec:
    """One kernelspec of ours. `server` None: it launches one. `problems`: why a kernel would not start, or not work."""

    name: str
    display_name: str
    path: str
    python: str
    server: str | None
    settings: Mapping[str, str]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Unreadable:
    """A kernelspec that cannot be told to be ours or not."""

    name: str
    path: str
    reason: str


def take_settings_of(kernel: str | None) -> Settings:
    """The settings of a kernelspec, whose environment becomes this process's; of this process where there is none.

    Raises:
        SettingsError: there is no such kernelspec, or a setting is wrong.
    """
    arguments: list[str] = []
    if kernel is not None:
        try:
            spec = KernelSpecManager().get_kernel_spec(kernel)
        except NoSuchKernel:
            raise SettingsError(f"there is no kernel {kernel!r}: jupyter kernelspec list shows those there are.") from None
        os.environ.update(spec.env)
        arguments = list(spec.argv)
    settings, problem = load_settings(arguments, os.environ)
    withhold(settings)
    if problem is not None:
        raise problem
    return settings


def find(manager: KernelSpecManager | None = None) -> Iterator[Spec | Unreadable]:
    """All that Jupyter finds, by name; the first of each name, as Jupyter does."""
    manager = manager or KernelSpecManager()
    for name, path in sorted(manager.find_kernel_specs().items()):
        try:
            spec = manager.get_kernel_spec(name)
        except Exception as error:  # damaged in whatever way
            yield Unreadable(name, path, str(error))
            continue
        if is_ours(spec):
            yield _described(name, path, spec)


def is_ours(spec: KernelSpec) -> bool:
    """Whether it starts this kernel, with whatever Python."""
    return _MODULE in spec.argv


def uninstall(name: str, manager: KernelSpecManager | None = None) -> tuple[str, str | None]:
    """Remove a kernelspec of ours; where it was, and where Jupyter finds another one of that name now, if it does.

    Raises:
        SettingsError: there is none, it is another kernel's, or it cannot be removed.
    """
    manager = manager or KernelSpecManager()
    name = name.lower()
    path = manager.find_kernel_specs().get(name)
    if path is None:
        ours = [spec.name for spec in find(manager) if isinstance(spec, Spec)]
        raise SettingsError(f"There is no kernelspec {name!r}. Those of this kernel are: {', '.join(ours) or 'none'}.")
    try:
        ours_it_is = is_ours(manager.get_kernel_spec(name))
    except Exception as error:
        raise SettingsError(f"The kernelspec in {path} cannot be read: {error}. Remove it by hand if it is yours.") from None
    if not ours_it_is:
        raise SettingsError(f"The kernelspec {name!r} in {path} is not of this kernel: jupyter kernelspec remove {name}")
    try:
        os.remove(path) if os.path.islink(path) else shutil.rmtree(path)
    except OSError as error:
        raise SettingsError(f"{error.filename or path} cannot be removed: {error.strerror}.") from None
    return path, KernelSpecManager(kernel_dirs=manager.kernel_dirs, ensure_native_kernel=False).find_kernel_specs().get(name)


def _described(name: str, path: str, spec: KernelSpec) -> Spec:
    arguments = [word for word in spec.argv if _OPTION.fullmatch(word)]
    settings = _settings(spec.env, arguments)
    shown = {setting: _without_secrets(setting, value) for setting, value in settings.items()}
    problems = [*_of_python(spec.argv[0], name), *_of_settings(spec.env, arguments), *_of_files(settings)]
    return Spec(name, spec.display_name, path, spec.argv[0], _address(spec.env, arguments), shown, tuple(problems))


def _without_secrets(setting: str, value: str) -> str:
    """A value as it may be shown: a kernelspec can be edited by hand, and have keys where none belongs."""
    if setting == "server":
        return value if may_be_shown(value) else HIDDEN
    if setting == "headers":
        with contextlib.suppress(ValueError):
            return " ".join(header_name(text) or HIDDEN for text in shlex.split(value))
        return HIDDEN
    return HIDDEN if _USER_IN_URL.search(value) or _SECRET_PROPERTY.search(value) else value


def _settings(environ: Mapping[str, str], arguments: list[str]) -> dict[str, str]:
    found = {name: environ[variable] for name, variable in VARIABLES.items() if environ.get(variable)}
    for word in arguments:
        match = _OPTION.fullmatch(word)
        if match is not None and match[1] in VARIABLES:
            found[match[1]] = match[2]
    return found


def _checked(environ: Mapping[str, str], arguments: list[str]) -> tuple[Any, SettingsError | None]:
    ours = {name: str(value) for name, value in environ.items() if name.startswith(PREFIX) and name != KEY_VARIABLE}
    names = " ".join(name.removeprefix(PREFIX) for name in ours if name != KERNELSPEC_VARIABLE)
    return load_settings(arguments, {**ours, KERNELSPEC_VARIABLE: names}, config_dirs=[], secrets=Unread())


def _address(environ: Mapping[str, str], arguments: list[str]) -> str | None:
    settings, _ = _checked(environ, arguments)
    return None if settings.endpoint is None else str(settings.endpoint.url)


def _of_python(program: str, name: str) -> Iterator[str]:
    # Jupyter puts its own interpreter in the place of a bare `python`.
    if os.path.isabs(program) and not os.access(program, os.X_OK):
        yield f"its Python {program} is gone: install the kernelspec again, with --name {name}"
    elif not os.path.isabs(program) and not program.startswith("python") and shutil.which(program) is None:
        yield f"its program {program} is not on PATH: install the kernelspec again, with --name {name}"


def _of_settings(environ: Mapping[str, str], arguments: list[str]) -> Iterator[str]:
    if environ.get(KEY_VARIABLE):
        yield f"it has a key in {KEY_VARIABLE}, where others can read it: put that into a file, and name it by --key-file"
    _, error = _checked(environ, arguments)
    if error is not None:
        yield from str(error).splitlines()


def _of_files(settings: Mapping[str, str]) -> Iterator[str]:
    files = {VARIABLES[name]: settings[name] for name in _FILES if name in settings}
    with contextlib.suppress(ValueError):
        for text in shlex.split(settings.get("headers", "")):
            header, _, place = text.partition("=")
            if place.startswith("file:"):
                files[f"the header {header}"] = place
    for what, reference in files.items():
        if re.match(r"(env|keyring):", reference):
            continue
        path = os.path.expanduser(reference.removeprefix("file:"))
        if not os.access(path, os.R_OK):
            yield f"{what}: {path} {'cannot be read' if os.path.exists(path) else 'is not there'}"
