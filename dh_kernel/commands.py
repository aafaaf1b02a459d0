"""The cells that the kernel runs itself, since they change the server: `%dh restart`, `%dh attach …`, `%dh detach`.

Also `%dh help` and words that are not known, so that they work where no server does. A cell counts if such a line is all that
it has. Neighbours: `kernel` (recognises and runs them), `backend` (does the work), `runtime.dh_line` (the words). No key
stands in such a line: it names files and variables. What may be a key all the same goes neither to the history nor to others.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

from dh_kernel.errors import AuthenticationError, DhKernelError, SettingsError
from dh_kernel.model import PSK_AUTH_TYPE, Endpoint
from dh_kernel.runtime.dh_line import HELP, OF_KERNEL, DhUsageError, words_of
from dh_kernel.settings import full_auth_type, host_and_port, read_key

from .backend import Backend

_LINE = re.compile(r"^\s*%dh(?:[ \t]+(.*))?$")
_ATTACH = re.compile(r"^(\s*%dh[ \t]+attach[ \t]+)(.*)$", re.MULTILINE)
_OPTIONS = ("--key-file", "--key-env", "--auth")
_USAGE = "write %dh attach HOST:PORT [--key-file FILE | --key-env VARIABLE] [--auth TYPE] [--anonymous]"


class CommandError(DhKernelError):
    """The line cannot be run; the text says why."""


@dataclass(frozen=True)
class Command:
    """One line for the kernel. `problem` is what is wrong with it."""

    words: tuple[str, ...]
    problem: str | None = None

    @property
    def notice(self) -> str:
        """What is awaited while it runs."""
        return "Connecting" if self.words[:1] == ("attach",) else "Starting"


def command_of(code: str) -> Command | None:
    """The command that a cell consists of, besides empty lines and comments; None for all other cells."""
    lines = [line for line in code.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    match = _LINE.match(lines[0]) if len(lines) == 1 else None
    if match is None:
        return None
    try:
        words = words_of(match[1] or "")
    except DhUsageError as error:
        return Command((), str(error))
    return Command(tuple(words)) if words and words[0] in (*OF_KERNEL, "help") else None


async def run_command(command: Command, backend: Backend, environ: Mapping[str, str] = os.environ) -> str:
    """Do it; the text to print.

    Raises:
        DhKernelError: what went wrong. Unless it was a restart, the server in use is the same as before.
    """
    if command.problem is not None:
        raise CommandError(command.problem)
    word, *arguments = command.words
    if word == "help":
        return HELP
    if word == "restart":
        return await _restart(backend)
    if word == "detach":
        return await _detach(backend)
    return await _attach(backend, attach_endpoint(arguments, environ))


async def _restart(backend: Backend) -> str:
    session = await backend.restart()
    if backend.settings.endpoint is not None:
        return f"A fresh session on the server at {session.endpoint.address}. What this kernel had assigned there is gone.\n"
    return f"A fresh server at {session.endpoint.address}. The variables of the former one are gone.\n"


async def _detach(backend: Backend) -> str:
    if backend.settings.endpoint is None:
        raise CommandError("The cells run on the kernel's own server already. %dh restart gives a fresh one.")
    former = backend.settings.endpoint.address
    session = await backend.change(replace(backend.settings, endpoint=None))
    return f"Cells now run on the kernel's own server at {session.endpoint.address}. That at {former} goes on by itself.\n"


async def _attach(backend: Backend, endpoint: Endpoint) -> str:
    launched = backend.settings.endpoint is None
    try:
        session = await backend.change(replace(backend.settings, endpoint=endpoint))
    except AuthenticationError as error:
        raise CommandError(f"{error}\nA key is named by --key-file FILE or --key-env VARIABLE. {_STAYS}") from None
    except DhKernelError as error:
        raise CommandError(f"{error}\n{_STAYS}") from None
    ended = " The kernel's own server has ended, and its variables with it." if launched else ""
    return f"Cells now run on the server at {session.endpoint.address}.{ended}\n"


_STAYS = "The server that was in use stays in use."


def attach_endpoint(arguments: list[str], environ: Mapping[str, str]) -> Endpoint:
    """Where the words behind `attach` lead.

    Raises:
        CommandError: they lead nowhere; the text shows nothing that may be a key.
    """
    options = _parsed(arguments)
    try:
        host, port = host_and_port(options.address)
        key = _key(options, environ)
        auth_type = full_auth_type(options.auth) if options.auth else PSK_AUTH_TYPE if key else "Anonymous"
    except SettingsError as error:
        raise CommandError(f"%dh attach: {error}") from None
    if options.anonymous:
        auth_type = "Anonymous"
    if auth_type in (PSK_AUTH_TYPE, "Basic") and not key:
        raise CommandError("%dh attach: this authentication needs a key; name it by --key-file FILE or --key-env VARIABLE.")
    return Endpoint(host, port, auth_type, "" if auth_type == "Anonymous" else key)


def _key(options: argparse.Namespace, environ: Mapping[str, str]) -> str:
    if options.anonymous and (options.key_file or options.key_env):
        raise SettingsError("--anonymous does not go with a key.")
    if options.key_file and options.key_env:
        raise SettingsError("give one of --key-file and --key-env.")
    if options.key_file:
        return read_key(options.key_file, [])
    if options.key_env:
        key = environ.get(options.key_env, "").strip()
        if not key:
            raise SettingsError(f"the variable {options.key_env} is not set where the kernel runs.")
        return key
    return ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Without the message, which repeats what was written."""
        raise CommandError(f"%dh attach: {_USAGE}. A key never stands in the line.")


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("address")
    for option in _OPTIONS:
        parser.add_argument(option, default="")
    parser.add_argument("--anonymous", action="store_true")
    return parser.parse_args(arguments)


def without_secrets(code: str) -> str:
    """The code with `***` for what may be a key in a line of `%dh attach`: in addresses, unknown options, further words."""
    return _ATTACH.sub(lambda match: match[1] + _line_without_secrets(match[2]), code) if "%dh" in code else code


def _line_without_secrets(line: str) -> str:
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    kept: list[str] = []
    addresses, hidden, left = 0, False, iter(words)
    for word in left:
        name = word.partition("=")[0]
        if name in _OPTIONS:
            kept += [word] if "=" in word else [word, *filter(None, [next(left, "")])]
        elif word == "--anonymous":
            kept.append(word)
        elif not word.startswith("-") and not addresses and not re.search(r"[@?#]", word):
            addresses += 1
            kept.append(word)
        else:
            hidden = True
            kept.append("***")
    return shlex.join(kept) if hidden else line
