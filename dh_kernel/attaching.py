"""From what the user says about a server that runs already to an `Endpoint`, or to complaints.

Neighbours: `settings` (the command line, the environment, files) and `commands` (`%dh attach`) both ask here, so that the same
words mean the same in all places; `credentials` reads what is secret. Refuses to connect, and to show a secret.

Where two settings contradict each other, what was said nearer to the run wins (`Level`); said at one place, it is an error.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dh_kernel.credentials import Secrets, sendable
from dh_kernel.errors import SettingsError
from dh_kernel.model import PSK_AUTH_TYPE, Endpoint, Tls

T = TypeVar("T")
KEY_VARIABLE = "DH_KERNEL_KEY"
OF_TLS = ("tls_ca_cert", "tls_client_cert", "tls_client_key")
_AUTH_TYPES = {"psk": PSK_AUTH_TYPE, "anonymous": "Anonymous", "basic": "Basic"}
_SCHEMES = {"dh+plain": False, "dh+tls": True, "dh": True}
_HEADER = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=\s*(.*)", re.DOTALL)
_TEXT = "text:"
_SECRET_NAME = re.compile(r"auth|key|token|secret|passw|cookie|credential", re.IGNORECASE)


class Level(enum.IntEnum):
    """How near to the run something was said."""

    FILE = 0
    ENVIRONMENT = 1
    KERNELSPEC = 2
    COMMAND_LINE = 3


@dataclass(frozen=True)
class Given:
    """One value as the user gave it, and how to name that place in an error: `DH_KERNEL_HEAP`, `--KernelSettings.heap` …"""

    value: Any
    source: str
    level: Level = Level.COMMAND_LINE


class Values:
    """What was given, by setting. Each complaint is one entry in `problems`, and leaves the default in place.

    Args:
        spell: how to write a setting where the user writes them.
        convert: from a value of any type to one of the setting's own type; raises `SettingsError`.
    """

    def __init__(
        self,
        given: Mapping[str, Given],
        problems: list[str],
        spell: Callable[[str], str],
        convert: Callable[[str, Any], Any] = lambda name, value: value,
    ) -> None:
        self._given, self.problems, self.spell, self._convert = given, problems, spell, convert

    def given(self, name: str) -> Given | None:
        """What was given for a setting; an empty value is none."""
        given = self._given.get(name)
        return None if given is None or given.value in ("", []) else given

    def checked(self, name: str, check: Callable[[Any], T], default: T) -> T:
        """The value of a setting, or its default."""
        given = self.given(name)
        if given is None:
            return default
        try:
            return check(self._convert(name, given.value))
        except SettingsError as error:
            text = str(error)
            self.problems.append(f"{given.source} {text}" if text.startswith("must be") else f"{given.source}: {text}")
            return default

    def contradiction(self, chosen: Given, other: Given, text: str) -> bool:
        """Whether `other` was said no less near than what it contradicts: then it is an error. Else it does not count."""
        if other.level < chosen.level:
            return False
        self.problems.append(text)
        return True


@dataclass(frozen=True)
class Address:
    """Where a server listens; `tls` None where the address does not say."""

    host: str
    port: int
    tls: bool | None = None


def endpoint_of(values: Values, secrets: Secrets) -> Endpoint | None:
    """The server to attach to; None where none is named, or its name is wrong."""
    address = values.checked("server", address_of, None)
    if address is None:
        return None
    auth_type, token = _credentials(values, secrets)
    return Endpoint(
        address.host,
        address.port,
        auth_type,
        token,
        _tls(values, secrets, address),
        values.checked("headers", lambda texts: tuple(_headers(texts, secrets)), ()),
        values.checked("channel_options", lambda texts: tuple(map(_channel_option, texts)), ()),
    )


# --- the address


def address_of(text: str) -> Address:
    """Take apart `host:port`, `dh+plain://host:port` or `dh+tls://host:port`. An IPv6 address keeps its brackets, for gRPC.

    Raises:
        SettingsError: telling what to write. It shows no part of the text where users paste a key: `?psk=…`, `user:password@`.
    """
    text = text.strip()
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    scheme = match[1].lower() if match else ""
    rest = text[match.end() :] if match else text
    bare = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    host, port = _host_and_port(bare)
    if bare != rest.removesuffix("/"):
        prefix = f"{scheme}://" if scheme in _SCHEMES else ""
        raise SettingsError(f"write {prefix}{bare}, without a path or a key.")
    if scheme and scheme not in _SCHEMES:
        secure = scheme in ("https", "grpcs", "grpc+tls", "wss")
        raise SettingsError(f"write {bare} or {'dh+tls' if secure else 'dh+plain'}://{bare}: {scheme}:// is not known here.")
    return Address(host, port, _SCHEMES.get(scheme))


def _host_and_port(address: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:\[\]]+):([0-9]+)", address)
    if match and 0 < int(match[2]) <= 65535:
        return match[1], int(match[2])
    if match:
        raise SettingsError(f"the port {match[2]} in {address} is not between 1 and 65535.")
    if address.count(":") > 1 and not address.startswith("["):
        raise SettingsError(f"{address!r} has no port that can be told from it: write an IPv6 address as [::1]:10000.")
    host = address.partition(":")[0] if not address.startswith("[") else address
    raise SettingsError(f"{address!r} is not a host and a port: write {host or 'localhost'}:10000, with the server's port.")


# --- who the user is


def full_auth_type(name: str) -> str:
    """The name that a server knows for `psk`, `anonymous` and `basic`; others are as they are."""
    name = name.strip()
    if name.lower() in _AUTH_TYPES:
        return _AUTH_TYPES[name.lower()]
    close = difflib.get_close_matches(name.lower(), _AUTH_TYPES, n=1, cutoff=0.6)
    if close and "." not in name:
        raise SettingsError(f"there is no authentication type {name!r}. Did you mean {close[0]}?")
    if not re.fullmatch(r"[!-~]+", name):
        raise SettingsError("write psk, anonymous, basic, or the class name of a handler.")
    return name


def _credentials(values: Values, secrets: Secrets) -> tuple[str, str]:
    key, source = _key(values, secrets)
    auth_type = values.checked("auth_type", full_auth_type, "" if key is None else PSK_AUTH_TYPE if key else "Anonymous")
    asked = values.given("auth_type")
    if auth_type == "Anonymous" and source is not None and asked is not None:
        text = (
            f"{asked.source} is {asked.value}, and {source.source} gives a key: leave one of them out, or choose psk or basic."
        )
        values.contradiction(asked, source, text)
    if auth_type in (PSK_AUTH_TYPE, "Basic") and key == "" and asked is not None and not secrets.later:
        values.problems.append(
            f"{asked.source}: the authentication type {asked.value} needs a key, and there is none."
            f" Name a file that holds it in {values.spell('key_file')}, or set {values.spell('key')}."
        )
    return auth_type or "Anonymous", "" if auth_type == "Anonymous" else key or ""


def _key(values: Values, secrets: Secrets) -> tuple[str | None, Given | None]:
    """The key, an empty text where there is none, None where it should have been but cannot be used; and where it is from."""
    named = values.given("key_file")
    in_environment = secrets.variable(KEY_VARIABLE) if values.given("key") is not None else ""
    if in_environment and (named is None or named.level < Level.COMMAND_LINE):
        try:
            return sendable(in_environment, f"what {KEY_VARIABLE} holds"), values.given("key")
        except SettingsError as error:
            values.problems.append(str(error))
            return None, values.given("key")
    if named is None:
        return "", None
    return values.checked("key_file", secrets.token, None), named


# --- how to speak


def _tls(values: Values, secrets: Secrets, address: Address) -> Tls | None:
    server, flag = values.given("server"), values.given("tls")
    assert server is not None
    wanted = values.checked("tls", bool, None)
    files = [given for name in OF_TLS if (given := values.given(name)) is not None]
    if address.tls is not None:
        if flag is not None and wanted is not address.tls:
            values.contradiction(
                server,
                flag,
                f"{flag.source} is {'on' if wanted else 'off'}, and the server's URL says"
                f" dh+{'tls' if address.tls else 'plain'}: leave one of them out.",
            )
        wanted, flag = address.tls, server
    if wanted is False and flag is not None:
        how = "dh+plain" if flag is server else f"{flag.source} off"
        for given in files:
            values.contradiction(
                flag, given, f"{given.source} is for TLS, which {how} excludes: write dh+tls://, or leave it out."
            )
        return None
    if not wanted and not files:
        return None
    certificate, key = values.given("tls_client_cert"), values.given("tls_client_key")
    if (certificate is None) != (key is None):
        there = certificate or key
        assert there is not None
        missing = "tls_client_key" if key is None else "tls_client_cert"
        values.problems.append(f"{there.source} needs {values.spell(missing)} too: a certificate and its key go together.")
    return Tls(
        values.checked("tls_ca_cert", secrets.certificates, None),
        values.checked("tls_client_cert", secrets.certificates, None),
        values.checked("tls_client_key", secrets.private_key, None),
    )


def _headers(texts: Iterable[str], secrets: Secrets) -> Iterable[tuple[str, str]]:
    for number, text in enumerate(texts, 1):
        match = _HEADER.fullmatch(text)
        if match is None:
            raise SettingsError(f"header {number} is not NAME=file:PATH, NAME=env:VARIABLE or NAME={_TEXT}VALUE.")
        name, value = match[1].lower(), match[2].strip()
        if name == "authorization" or name.startswith("grpc-") or name.endswith("-bin"):
            raise SettingsError(f"the header {name} is not yours to set: use the authentication settings, or another name.")
        if value.startswith(_TEXT):
            if _SECRET_NAME.search(name):
                raise SettingsError(f"the header {name} looks like a secret: name a file or a variable that holds it.")
            yield name, sendable(value.removeprefix(_TEXT), f"the header {name}")
        elif re.match(r"(file|env|keyring):", value):
            yield name, secrets.token(value, f"file of the header {name}")
        else:
            raise SettingsError(
                f"the value of the header {name} has to be file:PATH, env:VARIABLE or keyring:SERVICE/USER; or {_TEXT}VALUE"
                " where it is no secret."
            )


def _channel_option(text: str) -> tuple[str, int | str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (equals and re.fullmatch(r"grpc\.[a-z0-9_.]+", name) and value):
        raise SettingsError("write an option of gRPC's as grpc.NAME=VALUE: grpc.keepalive_time_ms=10000.")
    if "@" in value:
        raise SettingsError(f"the value of {name} looks like it has a password in it, and options can be seen by others.")
    return name, int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else value
