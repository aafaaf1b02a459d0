"""The command line options that say where a server runs already and how to speak to it, the same for all commands.

Job: declare them on a parser, and read them back as settings. Neighbours: `cli` (install, doctor) and `batch` (run).
Refuses to check values: `settings` does, with one text for all places.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import shlex
from collections.abc import Iterable, Mapping

from dh_kernel.attaching import DEFAULT_PORT as DEFAULT_PORT
from dh_kernel.attaching import KEY_VARIABLE, joined
from dh_kernel.errors import SettingsError

PATHS = ("key_file", "tls_ca_cert", "tls_client_cert", "tls_client_key")
_REFERENCE = re.compile(r"(env|keyring):")


def add_attach_options(group: argparse._ArgumentGroup, port_help: str = f"its port (default: {DEFAULT_PORT})") -> None:
    """Declare them. `--server` and `--host` are two ways to say one thing."""
    add = group.add_argument
    add("--host", metavar="HOST", help="attach to the server on this host; also dh+tls://HOST:PORT")
    add("--port", type=int, metavar="PORT", help=port_help)
    add("--server", metavar="ADDRESS", help="the same as one: HOST:PORT, dh+plain://HOST:PORT or dh+tls://HOST:PORT")
    add("--auth-type", metavar="TYPE", help="psk, anonymous, basic, or the class name of an authentication handler")
    add(
        "--auth-token-file",
        "--key-file",
        dest="key_file",
        metavar="FILE",
        help=f"file that holds the server's key; or env:VARIABLE, keyring:SERVICE/USER; or set {KEY_VARIABLE}",
    )
    add("--tls", action="store_const", const="1", help="speak TLS; a URL dh+tls:// and the files below say so too")
    add("--tls-ca-cert", metavar="FILE", help="PEM file with the authorities to trust (default: this machine's)")
    add("--tls-client-cert", metavar="FILE", help="PEM file with the client's certificate: mutual TLS")
    add("--tls-client-key", metavar="FILE", help="PEM file with its private key; or env:VARIABLE, keyring:SERVICE/USER")
    header = (
        "one more header: NAME=file:FILE, NAME=env:VARIABLE, NAME=keyring:SERVICE/USER, or NAME=text:VALUE; can be repeated"
    )
    add("--header", dest="headers", action="append", metavar="NAME=WHERE", help=header)
    option = "one of gRPC's options: grpc.ssl_target_name_override=NAME; can be repeated"
    add("--channel-option", dest="channel_options", action="append", metavar="NAME=VALUE", help=option)


def attach_settings(given: argparse.Namespace, *, lone_port: bool = False) -> dict[str, list[str]]:
    """The settings that these options make, each with its texts.

    Args:
        lone_port: `--port` without `--host` means something else here, and is not looked at.
    Raises:
        SettingsError: two options say different things, or one lacks another.
    """
    settings: dict[str, list[str]] = {}
    server = _server(given, lone_port)
    if server is not None:
        settings["server"] = [server]
    for name in ("auth_type", "tls", *PATHS):
        value = getattr(given, name)
        if value is not None:
            settings[name] = [value]
    for name in ("headers", "channel_options"):
        if getattr(given, name):
            settings[name] = [shlex.quote(text) for text in getattr(given, name)]
    return settings


def _server(given: argparse.Namespace, lone_port: bool) -> str | None:
    if given.server is not None and given.host is not None:
        raise SettingsError("--server and --host name a server each: leave one of them out.")
    if given.server is not None and given.port is not None:
        raise SettingsError("--port goes with --host; an address of --server has its port: HOST:PORT.")
    if given.host is not None:
        return joined(given.host, given.port)
    if given.port is not None and not lone_port:
        raise SettingsError("--port goes with --host.")
    return None if given.server is None else str(given.server)


def closest_option(name: str, options: Iterable[str]) -> str | None:
    """The option that was meant: one that begins so, or else looks alike."""
    known = sorted(option for option in options if option.startswith("--") and option != "--help")
    begun = [option for option in known if option.startswith(name)]
    return next(iter(begun or difflib.get_close_matches(name, known, n=1, cutoff=0.6)), None)


_OTHERWISE = {
    "server": "--host",
    "key_file": "--auth-token-file",
    "headers": "--header",
    "channel_options": "--channel-option",
}


def as_options(text: str) -> str:
    """A complaint about settings on a kernel's command line, with the options in their place."""

    def option(match: re.Match[str]) -> str:
        return _OTHERWISE.get(match[1]) or "--" + match[1].replace("_", "-")

    return re.sub(r"--KernelSettings\.(\w+)", option, text)


def absolute(settings: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """The settings with absolute paths: a kernel starts in the directory of its notebook."""
    changed = {}
    for name, texts in settings.items():
        if name in PATHS:
            texts = [text if _REFERENCE.match(text) else _absolute(text.removeprefix("file:")) for text in texts]
        elif name == "headers":
            texts = [shlex.join(map(_absolute_in_header, shlex.split(text))) for text in texts]
        changed[name] = texts
    return changed


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _absolute_in_header(text: str) -> str:
    name, equals, value = text.partition("=")
    return f"{name}=file:{_absolute(value.removeprefix('file:'))}" if equals and value.startswith("file:") else text
