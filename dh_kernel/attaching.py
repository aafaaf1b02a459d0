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
DEFAULT_PORT = 10_000
HIDDEN = "***"
"""Stands for what may be a secret, where it cannot be left out."""
OF_SECRETS = ("key_file", "tls_client_key", "tls_client_cert", "tls_ca_cert")
OF_TLS = ("tls_ca_cert", "tls_client_cert", "tls_client_key")
_AUTH_TYPES = {"psk": PSK_AUTH_TYPE, "anonymous": "Anonymous", "basic": "Basic"}
_SCHEMES = {"dh+plain": False, "dh+tls": True, "dh": True}
_LABEL = r"[\w-]{1,63}"  # names of hosts have no longer ones; tokens have
_ADDRESS_IN_BRACKETS = r"\[[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,15})?\]"
_PLACE = re.compile(rf"(?P<host>{_LABEL}(?:\.{_LABEL})*\.?|{_ADDRESS_IN_BRACKETS})(?::(?P<port>[0-9]{{1,5}}))?")
_IPV6 = re.compile(r"(?=.*:.*:)[0-9A-Fa-f:.]{2,45}(?:%[\w.-]{1,15})?")
_NO_ADDRESS = (
    "that is no address of a server, and is not shown here, since there may be a key in it. Write HOST:PORT, such as"
    " localhost:10000, [::1]:10000 or dh+tls://db.example.org:10000, without a user, a key or a path."
)
_HEADER = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*=\s*([^=\s].*)", re.DOTALL)  # `a2V5==` is none, and may be a key
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


def withhold_named(given: Mapping[str, Given], secrets: Secrets) -> None:
    """Withhold the variables that settings name as places of secrets, also those that nothing will read."""
    for name in OF_SECRETS:
        for reference in _texts(given.get(name)):
            secrets.withhold(reference)
    for header in _texts(given.get("headers")):
        match = _HEADER.fullmatch(header)
        if match is not None:
            secrets.withhold(match[2])


def _texts(given: Given | None) -> list[str]:
    """The texts among what was given, which is not checked yet and may be anything."""
    values = () if given is None else given.value if isinstance(given.value, (list, tuple)) else (given.value,)
    return [value for value in values if isinstance(value, str)]


# --- the address


def address_of(text: str) -> Address:
    """Take apart `host:port`, `dh+plain://host:port` or `dh+tls://host:port`. An IPv6 address keeps its brackets, for gRPC.

    Raises:
        SettingsError: telling what to write. It shows a host and a port at most, and only where nothing else can be meant:
            users paste keys there, as `?psk=…`, `user:password@` and otherwise, and keys have any characters.
    """
    scheme, rest = _without_scheme(text)
    place = _place_in(scheme, rest)
    if place is None:
        raise SettingsError(_NO_ADDRESS)
    prefix = f"{scheme}://" if scheme in _SCHEMES else ""
    shown = f"{place['host']}:{place['port'] or DEFAULT_PORT}"
    if place[0] != rest.removesuffix("/"):
        raise SettingsError(f"write {prefix}{shown}, without a path or a key.")
    if scheme and scheme not in _SCHEMES:
        secure = scheme in ("https", "grpcs", "grpc+tls", "wss")
        wanted = f"{'dh+tls' if secure else 'dh+plain'}://{shown}"
        raise SettingsError(f"write {shown} or {wanted}: only dh+plain:// and dh+tls:// are known here.")
    if place["port"] is None:
        raise SettingsError(f"there is no port: write {prefix}{shown}, with the server's port.")
    port = int(place["port"])
    if not 0 < port <= 65535:
        raise SettingsError(f"the port {port} is not between 1 and 65535.")
    return Address(place["host"], port, _SCHEMES.get(scheme))


def joined(host: str, port: int | None = None, said: str = "--host") -> str:
    """The address that a host and a port make; the port is 10000 where neither says one.

    Args:
        host: a name, an IPv6 address, or a URL. Any but an IPv6 address without brackets may have its port.
        said: where the host was said, for errors.
    Raises:
        SettingsError: there are two ports, or one that is none, or no host. An address that is wrong otherwise stays as it is.
    """
    scheme, rest = _without_scheme(host)
    if not rest:
        raise SettingsError(f"{said} names no host: write its name or its address.")
    if port is not None and not 0 < port <= 65535:
        raise SettingsError(f"the port {port} is not between 1 and 65535.")
    if not scheme and _IPV6.fullmatch(rest):
        rest = f"[{rest}]"
    place = _PLACE.fullmatch(rest.removesuffix("/"))
    if place is None:
        return host
    if place["port"] is not None and port is not None:
        raise SettingsError(f"{said} has a port, and there is --port too: leave one of them out.")
    prefix = f"{scheme}://" if scheme else ""
    return f"{prefix}{place['host']}:{place['port'] or port or DEFAULT_PORT}"


def may_be_shown(text: str) -> bool:
    """Whether this is a host, with or without a port and a scheme, and nothing else, among which a key could be."""
    _, rest = _without_scheme(text)
    return _PLACE.fullmatch(rest.removesuffix("/")) is not None or _IPV6.fullmatch(rest) is not None


def _without_scheme(text: str) -> tuple[str, str]:
    """What stands before `://`, if anything does, in small letters, and what stands behind it."""
    text = text.strip()
    match = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", text)
    return (match[1].lower(), text[match.end() :]) if match else ("", text)


def _place_in(scheme: str, rest: str) -> re.Match[str] | None:
    """Host and port; None where they cannot be told from parts of a key.

    An `@` behind a path or a query may belong to a key in that, and a `/` before an `@` to a password: neither is guessed at.
    """
    user, at, behind = rest.rpartition("@")
    if re.search(r"[/?#]", user):
        return None
    # Only URLs have a path: `12ab/34cd` may be a key.
    bare = re.split(r"[/?#]", behind, maxsplit=1)[0] if scheme else behind.removesuffix("/")
    place = _PLACE.fullmatch(bare)
    return None if place is None or (at and place["port"] is None) else place  # `host:1@KEY`


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


def header_name(text: str) -> str | None:
    """The name in a header's text; None where that is no header, and may be a secret as a whole."""
    match = _HEADER.fullmatch(text)
    return match[1] if match else None


def _channel_option(text: str) -> tuple[str, int | str]:
    name, equals, value = (part.strip() for part in text.partition("="))
    if not (equals and re.fullmatch(r"grpc\.[a-z0-9_.]+", name) and value):
        raise SettingsError("write an option of gRPC's as grpc.NAME=VALUE: grpc.keepalive_time_ms=10000.")
    if "@" in value:
        raise SettingsError(f"the value of {name} looks like it has a password in it, and options can be seen by others.")
    return name, int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else value
