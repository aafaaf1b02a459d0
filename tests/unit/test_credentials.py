"""Where secrets come from, and that no complaint about them shows any."""

from __future__ import annotations

import sys
import threading
import types
from pathlib import Path

import pytest

from dh_kernel import credentials
from dh_kernel.credentials import Secrets
from dh_kernel.errors import SettingsError

KEY = "s3cr3t-key"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
PRIVATE = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----"


def private(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return str(path)


def test_a_file_a_variable_and_what_is_remembered_of_them(tmp_path: Path) -> None:
    file = private(tmp_path / "key", f"{KEY}\n")
    secrets = Secrets({"K": KEY, "OTHER": "x"})
    assert [secrets.token(place) for place in (file, f"file:{file}", "env:K")] == [KEY] * 3
    assert secrets.taken == {"K": KEY}  # so that nothing else inherits it
    assert secrets.warnings == []


def test_a_file_that_others_can_read_is_a_warning_unless_it_is_public(tmp_path: Path) -> None:
    file = tmp_path / "both.pem"
    file.write_text(f"{CERTIFICATE}\n{PRIVATE}\n")
    file.chmod(0o644)
    secrets = Secrets({})
    assert secrets.certificates(str(file)).startswith(b"-----BEGIN CERTIFICATE-----")
    assert secrets.warnings == []
    assert secrets.private_key(str(file)).decode().strip() == PRIVATE
    assert f"chmod 600 {file}" in secrets.warnings[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [(f"{KEY}\nmore", "more than one line"), (f"{KEY}é", "plain ASCII"), (f"{KEY}\x00", "plain ASCII"), (" \n", "is empty")],
)
def test_what_cannot_be_sent_is_refused_and_not_shown(tmp_path: Path, text: str, says: str) -> None:
    """gRPC's own errors would show it."""
    for place, environ in ((private(tmp_path / "key", text), {}), ("env:K", {"K": text})):
        with pytest.raises(SettingsError) as caught:
            Secrets(environ).token(place)
        assert KEY not in str(caught.value)
        if place != "env:K" or text.strip():
            assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "certificate", "key"),
    [
        (CERTIFICATE, None, "It has a certificate"),
        (PRIVATE, "It has a private key", None),
        (PRIVATE.replace("PRIVATE", "ENCRYPTED PRIVATE"), "It has a private key", "openssl pkey -in"),
        (
            f"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n{KEY}\n-----END RSA PRIVATE KEY-----",
            "no certif",
            "openssl",
        ),
        (KEY, "no certificate in PEM form", "no private key in PEM form"),
    ],
)
def test_what_is_no_certificate_and_what_is_no_key(
    tmp_path: Path, text: str, certificate: str | None, key: str | None
) -> None:
    file = private(tmp_path / "x.pem", text)
    for read, says in ((Secrets({}).certificates, certificate), (Secrets({}).private_key, key)):
        if says is None:
            read(file)
            continue
        with pytest.raises(SettingsError) as caught:
            read(file)
        assert says in str(caught.value)
        assert file in str(caught.value)
        assert KEY not in str(caught.value)


def test_binary_files_say_so(tmp_path: Path) -> None:
    file = tmp_path / "x.p12"
    file.write_bytes(b"\x30\x82\xff\xfe")
    with pytest.raises(SettingsError, match="is not text"):
        Secrets({}).certificates(str(file))


class Keyring(types.ModuleType):
    """A keyring with one entry, or a fault."""

    def __init__(self, fault: BaseException | None = None) -> None:
        super().__init__("keyring")
        self._fault = fault

    def get_password(self, service: str, user: str) -> str | None:
        if self._fault is not None:
            raise self._fault
        return {("dh/prod", "me"): KEY}.get((service, user))


def test_the_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last part of a reference is the user, so that a service may have a slash in its name."""
    monkeypatch.setitem(sys.modules, "keyring", Keyring())
    assert Secrets({}).token("keyring:dh/prod/me") == KEY
    with pytest.raises(SettingsError, match="keyring set dh/prod you"):
        Secrets({}).token("keyring:dh/prod/you")
    with pytest.raises(SettingsError, match="write keyring:SERVICE/USER"):
        Secrets({}).token("keyring:prod")


def test_a_keyring_that_fails_or_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", Keyring(RuntimeError(f"locked with {KEY}")))
    with pytest.raises(SettingsError, match="the keyring cannot be asked: RuntimeError") as caught:
        Secrets({}).token("keyring:dh/me")
    assert KEY not in str(caught.value)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match=r"pip install 'dh-kernel\[keyring\]'"):
        Secrets({}).token("keyring:dh/me")


def test_a_keyring_that_waits_for_somebody_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, never = threading.Event(), threading.Event()

    class Locked(types.ModuleType):
        def get_password(self, service: str, user: str) -> str | None:
            asked.set()
            never.wait()
            return None

    monkeypatch.setitem(sys.modules, "keyring", Locked("keyring"))
    monkeypatch.setattr(credentials, "KEYRING_WITHIN_S", 0.05)
    try:
        with pytest.raises(SettingsError, match="it may be locked"):
            Secrets({}).token("keyring:dh/me")
        assert asked.wait(10)
    finally:
        never.set()


def test_keyring_is_imported_only_when_it_is_asked() -> None:
    """It is optional, and slow to import."""
    before = set(sys.modules)
    Secrets({"K": KEY}).token("env:K")
    assert not {name for name in set(sys.modules) - before if name.partition(".")[0] == "keyring"}
