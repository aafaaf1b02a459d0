"""Who answers at an address: everything but a server as the settings say has an error of its own, and none is waited for long.

The listeners are Python's; real servers are in tests/server/test_authentication.py.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Authority, Pair, encrypted

from dh_kernel.credentials import Secrets
from dh_kernel.errors import AuthenticationError, ConnectError, SettingsError
from dh_kernel.model import Endpoint, Tls
from dh_kernel.session.greeting import greet, roots

SETTINGS = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
Serve = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(serve: Serve) -> Iterator[int]:
    """A port at which every connection is dealt with by a function; what it raises is the connection's end."""
    listener = socket.create_server(("127.0.0.1", 0))
    held: list[socket.socket] = []

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = listener.accept()
                held.append(end)
                with contextlib.suppress(OSError):
                    serve(end)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for end in held:
            end.close()
        thread.join(10)


def http2(end: socket.socket) -> None:
    end.recv(100)
    end.sendall(SETTINGS)


def http1(end: socket.socket) -> None:
    end.recv(100)
    end.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    end.close()


def silent(end: socket.socket) -> None:
    """Takes connections and says nothing, as a process that is stopped."""
    while end.recv(100):
        pass


def ends(end: socket.socket) -> None:
    end.recv(100)
    end.close()


def secured(pair: Pair, serve: Serve, clients: Path | None = None, version: ssl.TLSVersion | None = None) -> Serve:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    if version is not None:
        context.maximum_version = version
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)

    def run(end: socket.socket) -> None:
        with context.wrap_socket(end, server_side=True) as secure:
            serve(secure)
            with contextlib.suppress(OSError):
                secure.recv(100)

    return run


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


def told(port: int, tls: Tls | None, *kinds: type[Exception]) -> str:
    with pytest.raises((ConnectError, AuthenticationError)) as caught:
        greet(Endpoint("127.0.0.1", port, tls=tls), 0.5)
    assert type(caught.value) in (kinds or (ConnectError,))
    assert "Next step" in str(caught.value)
    return str(caught.value)


def trusting(authority: Authority, pair: Pair | None = None) -> Tls:
    identity = (pair.cert.read_bytes(), pair.key.read_bytes()) if pair else (None, None)
    return Tls(authority.cert.read_bytes(), *identity)


def test_who_speaks_http2_is_welcome(authority: Authority) -> None:
    with listening(http2) as port:
        greet(Endpoint("127.0.0.1", port))
    with listening(secured(authority.issue("server", "127.0.0.1"), http2)) as port:
        greet(Endpoint("127.0.0.1", port, tls=trusting(authority)))


@pytest.mark.parametrize(
    ("serve", "says"), [(http1, "does not speak HTTP/2"), (silent, "nothing is said in time"), (ends, "does not speak HTTP/2")]
)
def test_who_speaks_otherwise(serve: Serve, says: str) -> None:
    with listening(serve) as port:
        assert says in told(port, None)


@pytest.mark.parametrize(
    ("serve", "says"),
    [(http1, "TLS fails"), (silent, "nothing is said in time"), (ends, "TLS fails"), (http2, "settings say TLS")],
)
def test_who_speaks_no_tls(authority: Authority, serve: Serve, says: str) -> None:
    with listening(serve) as port:
        assert says in told(port, trusting(authority))


@pytest.mark.parametrize(
    ("serve", "says"), [(http1, "does not speak HTTP/2"), (silent, "nothing is said in time"), (ends, "as one that wants")]
)
def test_who_speaks_tls_and_then_something_else(authority: Authority, serve: Serve, says: str) -> None:
    with listening(secured(authority.issue("server", "127.0.0.1"), serve)) as port:
        assert says in told(port, trusting(authority))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_certificate_that_is_missing_or_strange(
    tmp_path: Path, authority: Authority, version: ssl.TLSVersion
) -> None:
    """The older TLS tells in the handshake, the newer one after it; a reset can overtake what the server says."""
    kinds = (AuthenticationError, ConnectError)
    serve = secured(authority.issue("server", "127.0.0.1"), http2, authority.cert, version)
    stranger = Authority(tmp_path, "other").issue("me")
    with listening(serve) as port:
        assert re.search("none is set|one that wants a client", told(port, trusting(authority), *kinds))
    with listening(serve) as port:
        assert re.search("does not accept (the|a) client", told(port, trusting(authority, stranger), *kinds))
    with listening(serve) as port:
        greet(Endpoint("127.0.0.1", port, tls=trusting(authority, authority.issue("me"))))


def test_a_certificate_that_has_expired(authority: Authority) -> None:
    with listening(secured(authority.issue("server", "127.0.0.1", days=-1), http2)) as port:
        assert "has expired" in told(port, trusting(authority))


def test_a_damaged_authority() -> None:
    with listening(http2) as port:
        damaged = Tls(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        assert "it is damaged" in told(port, damaged)


def test_an_encrypted_key_is_refused_before(tmp_path: Path) -> None:
    """Nobody could be asked for its passphrase; OpenSSL would ask on the terminal."""
    with pytest.raises(SettingsError, match="is encrypted"):
        Secrets({}).private_key(str(encrypted(tmp_path, "passphrase")))


def test_this_machines_authorities(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    assert roots(Tls()) == authority.cert.read_bytes()
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    found = roots(Tls())
    assert found is not None
    assert found.startswith(b"-----BEGIN CERTIFICATE-----")
