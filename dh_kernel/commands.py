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

from dh_kernel.attaching import HIDDEN, OF_TLS, Given, Values, endpoint_of, header_name, joined, may_be_shown, withhold_named
from dh_kernel.credentials import Secrets
from dh_kernel.errors import AuthenticationError, DhKernelError, SettingsError
from dh_kernel.model import Endpoint
from dh_kernel.runtime.dh_line import HELP, OF_KERNEL, DhUsageError, words_of

from .backend import Backend

_LINE = re.compile(r"^\s*%dh(?:[ \t]+(.*))?$")
_ATTACH = re.compile(r"^(\s*%dh[ \t]+attach[ \t]+)(.*)$", re.MULTILINE)
# The options of `%dh attach` that have a value, and the settings that they are; several ways to write one are as in `run`.
_OPTIONS = {
    "--host": "host",
    "--port": "port",
    "--key-file": "key_file",
    "--auth-token-file": "key_file",
    "--key-env": "key_env",
    "--auth": "auth_type",
    "--auth-type": "auth_type",
    "--tls-ca-cert": "tls_ca_cert",
    "--tls-client-cert": "tls_client_cert",
    "--tls-client-key": "tls_client_key",
    "--header": "headers",
    "--channel-option": "channel_options",
}
_PORT = re.compile(r"[0-9]{1,5}")
_REPEATED = ("headers", "channel_options")
_FLAGS = ("--anonymous", "--tls")
_USAGE = (
    "write %dh attach HOST:PORT [--key-file FILE | --key-env VARIABLE] [--auth TYPE] [--anonymous] [--tls] [--tls-ca-cert"
    " FILE] [--tls-client-cert FILE --tls-client-key FILE] [--header NAME=file:FILE] [--channel-option NAME=VALUE]"
)


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
    secrets = Secrets({**environ, **backend.settings.withheld})
    try:
        endpoint = attach_endpoint(arguments, secrets)
    finally:
        backend.withhold(secrets.taken)
    return "".join([await _attach(backend, endpoint), *(f"{warning}\n" for warning in secrets.warnings)])


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
        raise CommandError(
            f"{error}\nA key is named by --key-file FILE or --key-env VARIABLE, a certificate by --tls-client-cert FILE."
            f" {_STAYS}"
        ) from None
    except DhKernelError as error:
        raise CommandError(f"{error}\n{_STAYS}") from None
    ended = " The kernel's own server has ended, and its variables with it." if launched else ""
    return f"Cells now run on the server at {session.endpoint.address}.{ended}\n"


_STAYS = "The server that was in use stays in use."


def attach_endpoint(arguments: list[str], secrets: Secrets) -> Endpoint:
    """Where the words behind `attach` lead.

    Args:
        secrets: reads what they name, and has what is to be withheld, and the warnings, afterwards.
    Raises:
        CommandError: they lead nowhere; the text shows nothing that may be a key.
    """
    given = _given(_parsed(arguments))
    problems: list[str] = []
    withhold_named(given, secrets)
    endpoint = endpoint_of(Values(given, problems, _spelled), secrets)
    if problems or endpoint is None:
        raise CommandError(f"%dh attach: {' '.join(problems) or _USAGE}")
    return endpoint


def _given(options: argparse.Namespace) -> dict[str, Given]:
    address = options.address or options.host
    if not address or (options.address and options.host):
        raise CommandError(f"%dh attach: {_USAGE}.")
    if options.host or options.port:
        address = _joined(address, options)
    if options.anonymous and (options.key_file or options.key_env):
        raise CommandError("%dh attach: --anonymous does not go with a key.")
    if options.key_file and options.key_env:
        raise CommandError("%dh attach: give one of --key-file and --key-env.")
    values = {
        "server": address,
        "key_file": f"env:{options.key_env}" if options.key_env else options.key_file,
        "auth_type": "anonymous" if options.anonymous else options.auth_type,
        "tls": options.tls or "",
        **{name: getattr(options, name) for name in (*OF_TLS, *_REPEATED)},
    }
    given = {name: Given(value, _spelled(name)) for name, value in values.items() if value}
    if options.key_env:
        given["key_file"] = Given(values["key_file"], "--key-env")
    return given


def _joined(address: str, options: argparse.Namespace) -> str:
    if options.port and not _PORT.fullmatch(options.port):
        raise CommandError("%dh attach: --port is not a number between 1 and 65535.")
    try:
        return joined(address, int(options.port) if options.port else None, "--host" if options.host else "the address")
    except SettingsError as error:
        raise CommandError(f"%dh attach: {error}") from None


def _spelled(setting: str) -> str:
    others = {"server": "the address", "tls": "--tls", "key": "--key-env"}
    return others.get(setting) or next(option for option, name in _OPTIONS.items() if name == setting)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Without the message, which repeats what was written."""
        raise CommandError(f"%dh attach: {_USAGE}. A key never stands in the line.")


def _parsed(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("address", nargs="?", default="")
    for option, name in _OPTIONS.items():
        if name in _REPEATED:
            parser.add_argument(option, dest=name, action="append", default=[])
        else:
            parser.add_argument(option, dest=name, default="")
    for flag in _FLAGS:
        parser.add_argument(flag, action="store_true")
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
        name, equals, value = word.partition("=")
        if name in _OPTIONS:
            value = value if equals else next(left, "")
            shown = _value_without_secrets(_OPTIONS[name], value)
            hidden |= shown != value
            kept += [f"{name}={shown}"] if equals else [name, *filter(None, [shown])]
        elif word in _FLAGS:
            kept.append(word)
        elif not word.startswith("-") and not addresses and may_be_shown(word):
            addresses += 1
            kept.append(word)
        else:
            hidden = True
            kept.append(HIDDEN)
    return shlex.join(kept) if hidden else line


def _value_without_secrets(setting: str, value: str) -> str:
    if setting == "host":
        return value if not value or may_be_shown(value) else HIDDEN
    if setting == "port" and not _PORT.fullmatch(value):
        return HIDDEN if value else value
    if setting == "channel_options" and "@" in value:
        return HIDDEN
    if setting == "headers" and not _REFERENCE_IN_HEADER.fullmatch(value):
        name = header_name(value)
        return f"{name}={HIDDEN}" if name else HIDDEN
    return value


_REFERENCE_IN_HEADER = re.compile(r"[A-Za-z0-9_.-]+=(file|env|keyring):.*")
