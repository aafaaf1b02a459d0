"""Secrets and certificates, read from where a setting says: a file, an environment variable, or the keyring.

Neighbours: `attaching` and `settings` ask. Refuses to show what it has read: no error and no warning made here holds any of
it.

A reference is one of

    PATH, file:PATH          a file; others should not be able to read it, or there is a warning
    env:VARIABLE             an environment variable, which nothing that the kernel starts inherits
    keyring:SERVICE/USER     the user's keyring, by the package `keyring`, which is imported only then
"""

from __future__ import annotations

import re
import shlex
import stat
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dh_kernel.errors import SettingsError

KEYRING_WITHIN_S = 30.0
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_REFERENCE = re.compile(r"(file|env|keyring):(.*)", re.DOTALL)


class Secrets:
    """Reads them. `warnings` are for the user's eyes; `taken` has the variables that held one, with their values."""

    later = False

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.warnings: list[str] = []
        self.taken: dict[str, str] = {}

    def variable(self, name: str) -> str:
        """What a variable holds, an empty text where it is not set."""
        value = self._environ.get(name, "").strip()
        if value:
            self.taken[name] = self._environ[name]
        return value

    def read(self, reference: str, what: str, *, public: bool = False) -> str:
        """What a reference leads to.

        Args:
            what: how to call a file in an error: `key file`.
            public: that others can read it does not matter.
        Raises:
            SettingsError: there is nothing; the text says what to do.
        """
        match = _REFERENCE.fullmatch(reference.strip())
        kind, place = (match[1], match[2]) if match else ("file", reference.strip())
        if kind == "env":
            return self._of_variable(place)
        if kind == "keyring":
            return _of_keyring(place)
        return self._of_file(place, what, public)

    def token(self, reference: str, what: str = "key file") -> str:
        """A secret that can be sent as the value of a header."""
        return sendable(self.read(reference, what), f"what {_shown(reference)} holds")

    def certificates(self, reference: str) -> bytes:
        """The certificates in a PEM file."""
        text = self.read(reference, "certificate file", public=True)
        blocks = [match[0] for match in _PEM.finditer(text) if match[1] in ("CERTIFICATE", "X509 CERTIFICATE")]
        if not blocks:
            other = " It has a private key." if "PRIVATE KEY-----" in text else ""
            raise SettingsError(f"{_shown(reference)} has no certificate in PEM form (-----BEGIN CERTIFICATE-----).{other}")
        return "\n".join([*blocks, ""]).encode("ascii", "replace")

    def private_key(self, reference: str) -> bytes:
        """The private key in a PEM file, which has no passphrase: nobody could be asked for it."""
        text = self.read(reference, "file of a private key")
        blocks = [match[0] for match in _PEM.finditer(text) if match[1].endswith("PRIVATE KEY")]
        if not blocks:
            other = " It has a certificate." if "CERTIFICATE-----" in text else ""
            raise SettingsError(f"{_shown(reference)} has no private key in PEM form (-----BEGIN PRIVATE KEY-----).{other}")
        if "ENCRYPTED" in blocks[0]:
            raise SettingsError(
                f"the private key in {_shown(reference)} is encrypted, and nobody can be asked for its passphrase."
                " Write one without: openssl pkey -in ENCRYPTED.pem -out KEY.pem; chmod 600 KEY.pem"
            )
        return f"{blocks[0]}\n".encode("ascii", "replace")

    def _of_variable(self, name: str) -> str:
        value = self.variable(name)
        if not value:
            raise SettingsError(f"the variable {name} is not set where the kernel runs.")
        return value

    def _of_file(self, name: str, what: str, public: bool) -> str:
        path = Path(name).expanduser()
        try:
            text = path.read_text("utf-8").strip()
            mode = path.stat().st_mode
        except UnicodeDecodeError:
            raise SettingsError(f"the {what} {path} is not text.") from None
        except (OSError, ValueError) as error:  # a zero byte in a path is a ValueError
            reason = getattr(error, "strerror", None) or "no such path"
            raise SettingsError(f"the {what} {path} cannot be read: {reason}.") from None
        if not text:
            raise SettingsError(f"the {what} {path} is empty.")
        if not public and mode & (stat.S_IRGRP | stat.S_IROTH):
            self.warnings.append(f"The {what} {path} can be read by other users: chmod 600 {shlex.quote(str(path))}")
        return text


class Unread(Secrets):
    """Reads none: what is named may come to be later, when a kernel starts."""

    later = True

    def __init__(self) -> None:
        super().__init__({})

    def read(self, reference: str, what: str, *, public: bool = False) -> str:
        """Something in its place."""
        return "unread"

    def certificates(self, reference: str) -> bytes:
        """Nothing in their place."""
        return b""

    def private_key(self, reference: str) -> bytes:
        """Nothing in its place."""
        return b""


def sendable(text: str, whose: str) -> str:
    """The text, if a header can carry it: gRPC's own error for others would show it.

    Raises:
        SettingsError: it has line breaks, or characters that are not ASCII.
    """
    if not all(" " <= character <= "~" for character in text):
        raise SettingsError(f"{whose} cannot be sent: it is more than one line, or has characters that are not plain ASCII.")
    return text


def _shown(reference: str) -> str:
    return reference.strip().removeprefix("file:")


def _of_keyring(place: str) -> str:
    service, slash, user = place.rpartition("/")
    if not (service and slash and user):
        raise SettingsError("write keyring:SERVICE/USER, with the names under which `keyring set SERVICE USER` has put it.")
    try:
        import keyring
    except ImportError:
        raise SettingsError(
            "a keyring reference needs the package keyring, which is not installed: pip install 'dh-kernel[keyring]'"
        ) from None
    value, problem = _within(KEYRING_WITHIN_S, lambda: keyring.get_password(service, user))
    if problem is not None:
        raise SettingsError(f"the keyring cannot be asked: {problem}. `keyring diagnose` and `python -m keyring` tell more.")
    if not value:
        raise SettingsError(f"the keyring has nothing for {service}/{user}: keyring set {shlex.quote(service)} {user}")
    return str(value).strip()


def _within(seconds: float, ask: Callable[[], Any]) -> tuple[Any, str | None]:
    """What a call returns, and what is wrong: a keyring that is locked may wait for somebody for good."""
    answers: list[Any] = []
    problems: list[str] = []

    def run() -> None:
        try:
            answers.append(ask())
        except BaseException as error:  # a backend is others' code; its own text may hold anything
            problems.append(type(error).__name__)

    thread = threading.Thread(target=run, name="dh-kernel-keyring", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return None, f"no answer within {seconds:g} s; it may be locked"
    return (answers[0], None) if answers else (None, problems[0])
