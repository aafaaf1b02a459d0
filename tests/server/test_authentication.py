"""Who may connect and how, on real servers: PSK and anonymous, plaintext, TLS and mutual TLS. Each with a cell, a table's rows
over Flight, and what is said when something is wrong. The certificates are made here.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from certificates import Authority, Pair
from harness import Place, Vanilla, is_gone, started, vanilla_server, wait_until
from sessions import Client, until

from dh_kernel.errors import AuthenticationError, ConnectError, SessionError
from dh_kernel.model import PSK_AUTH_TYPE, Endpoint, Tls
from dh_kernel.session.session import REFRESH_EVERY_S, Session, SessionOptions, refresh_every_s

KEY, TOKEN = "wrong-key-Zx91", "header-Zx92"
SHORT = "-Dhttp.session.durationMs=10000"  # the least that a server allows
TABLE = "from deephaven import empty_table\nt_auth = empty_table(5).update(['X = i', 'Y = `a` + i'])\nprint('made')"


@dataclass(frozen=True)
class Certificates:
    """All that the tests need. `other` is an authority that no server knows."""

    authority: Authority
    other: Authority
    server: Pair
    client: Pair
    stranger: Pair


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("certificates")
    authority, other = Authority(folder, "authority"), Authority(folder, "other")
    server = authority.issue("server", "localhost", "dh.example.org")  # not 127.0.0.1, where it listens
    return Certificates(authority, other, server, authority.issue("me"), other.issue("me"))


def identity(pair: Pair) -> list[str]:
    """Deephaven's properties for a server with TLS."""
    return [
        "-Dssl.identity.type=privatekey",
        f"-Dssl.identity.certChainPath={pair.cert}",
        f"-Dssl.identity.privateKeyPath={pair.key}",
    ]


@pytest.fixture(scope="module")
def secure(
    certificates: Certificates, vanilla_python: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Vanilla, Endpoint]]:
    """A server with TLS and a key, where sessions expire soon. The last test ends it."""
    options = [*identity(certificates.server), SHORT]
    with vanilla_server(vanilla_python, tmp_path_factory.mktemp("secure"), options) as server:
        tls = Tls(certificates.authority.cert.read_bytes())
        yield server, Endpoint("localhost", server.port, PSK_AUTH_TYPE, server.key, tls)


@pytest.fixture(scope="module")
def mutual(certificates: Certificates, vanilla_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A server that wants a client's certificate, and then takes anybody."""
    options = [
        *identity(certificates.server),
        "-Dssl.trust.type=certs",
        f"-Dssl.trust.path={certificates.authority.cert}",
        "-Dssl.clientAuthentication=NEEDED",
        "-DAuthHandlers=io.deephaven.auth.AnonymousAuthenticationHandler",
    ]
    with vanilla_server(vanilla_python, tmp_path_factory.mktemp("mutual"), options) as server:
        yield Endpoint("localhost", server.port, tls=shown(certificates, certificates.client))


def shown(certificates: Certificates, pair: Pair | None) -> Tls:
    """TLS with a client's certificate."""
    trusted = certificates.authority.cert.read_bytes()
    return Tls(trusted) if pair is None else Tls(trusted, pair.cert.read_bytes(), pair.key.read_bytes())


@contextlib.contextmanager
def opened(endpoint: Endpoint) -> Iterator[Client]:
    client = Client(endpoint)
    try:
        yield client
    finally:
        client.close()


def works(endpoint: Endpoint) -> None:
    """A cell runs, and a table's rows come over Flight."""
    with opened(endpoint) as client:
        run = client.ok(TABLE)
        assert run.text() == "made\n"
        [table] = run.tables
        data = client.preview(table).data
        assert data is not None
        assert data.column("X").to_pylist() == [0, 1, 2, 3, 4]
        client.ok("del t_auth")


def refused(endpoint: Endpoint, kind: type[SessionError], *says: str) -> None:
    with pytest.raises(SessionError) as caught:
        Session.open(endpoint, SessionOptions(), lambda event, size: None, lambda error: None)
    error = caught.value
    text = str(error)
    assert type(error) is kind, text
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    for part in ("Next step", endpoint.address, *says):
        assert part in text, text
    for secret in (endpoint.auth_token, *(value for _, value in endpoint.headers)):
        assert not secret or secret not in text


def test_a_key_in_plaintext(vanilla: Vanilla) -> None:
    endpoint = Endpoint(vanilla.host, vanilla.port, PSK_AUTH_TYPE, vanilla.key, headers=(("x-test", TOKEN),))
    works(endpoint)
    refused(replace(endpoint, auth_token=KEY), AuthenticationError, "DH_KERNEL_KEY")
    refused(replace(endpoint, auth_type="Anonymous"), AuthenticationError, "Anonymous")


def test_a_key_and_tls(secure: tuple[Vanilla, Endpoint]) -> None:
    _, endpoint = secure
    works(endpoint)
    refused(replace(endpoint, auth_token=KEY), AuthenticationError, "DH_KERNEL_KEY")
    refused(Endpoint(endpoint.host, endpoint.port, tls=endpoint.tls), AuthenticationError, "Anonymous")


def test_no_key_and_mutual_tls(mutual: Endpoint, certificates: Certificates) -> None:
    works(mutual)
    refused(replace(mutual, auth_type=PSK_AUTH_TYPE, auth_token=KEY), AuthenticationError, "PskAuthenticationHandler")
    refused(
        replace(mutual, tls=shown(certificates, None)), AuthenticationError, "wants a client certificate", "--tls-client-cert"
    )
    refused(replace(mutual, tls=shown(certificates, certificates.stranger)), AuthenticationError, "does not accept the client")


def test_a_certificate_and_the_key_of_another(mutual: Endpoint, certificates: Certificates) -> None:
    mixed = Pair(certificates.client.cert, certificates.stranger.key)
    refused(replace(mutual, tls=shown(certificates, mixed)), ConnectError, "do not belong together")
    broken = Tls(
        certificates.authority.cert.read_bytes(), b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"x"
    )
    refused(replace(mutual, tls=broken), ConnectError, "cannot be used")


def test_who_is_not_trusted(secure: tuple[Vanilla, Endpoint], certificates: Certificates) -> None:
    _, endpoint = secure
    refused(
        replace(endpoint, tls=Tls(certificates.other.cert.read_bytes())), ConnectError, "not from one in the file", "CA_CERT"
    )
    refused(replace(endpoint, tls=Tls()), ConnectError, "that this machine trusts", "DH_KERNEL_TLS_CA_CERT")


def test_what_this_machine_trusts(
    secure: tuple[Vanilla, Endpoint], certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a file of authorities those of the machine count, for gRPC and for Flight."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority.cert))
    works(replace(secure[1], tls=Tls()))


def test_another_name_than_the_certificates(secure: tuple[Vanilla, Endpoint]) -> None:
    _, endpoint = secure
    by_number = replace(endpoint, host="127.0.0.1")
    refused(by_number, ConnectError, "is for localhost, dh.example.org, not for 127.0.0.1", "grpc.ssl_target_name_override")
    works(replace(by_number, options=(("grpc.ssl_target_name_override", "dh.example.org"),)))


def test_plaintext_to_tls_and_tls_to_plaintext(secure: tuple[Vanilla, Endpoint], vanilla: Vanilla) -> None:
    _, endpoint = secure
    refused(replace(endpoint, tls=None), ConnectError, "speaks TLS, and the settings say plaintext", "DH_KERNEL_TLS=1")
    to_plaintext = Endpoint(vanilla.host, vanilla.port, PSK_AUTH_TYPE, vanilla.key, endpoint.tls)
    refused(to_plaintext, ConnectError, "speaks plaintext, and the settings say TLS", "dh+plain://")


def test_a_run_with_tls(secure: tuple[Vanilla, Endpoint], certificates: Certificates, place: Place) -> None:
    """The command line says it all; no variable is needed."""
    server, _ = secure
    words = ["run", "--json", "--host", "localhost", "--port", str(server.port), "--auth-token-file", str(server.key_file)]
    trusted = ["--tls-ca-cert", str(certificates.authority.cert)]
    done = place.run("dh-kernel", *words, *trusted, "-c", TABLE)
    assert done.returncode == 0, done.stderr
    whole = json.loads(done.stdout)
    assert whole["stdout"] == "made\n"
    assert [row["X"] for row in whole["tables"][0]["rows"]] == [0, 1, 2, 3, 4]
    done = place.run("dh-kernel", *words, "--tls", "-c", TABLE)
    assert done.returncode == 2
    assert "DH_KERNEL_TLS_CA_CERT" in done.stdout
    assert server.key not in done.stdout + done.stderr


@pytest.mark.long
def test_a_session_that_expires_is_replaced_and_nothing_is_lost(
    secure: tuple[Vanilla, Endpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server forgets the token while a cell runs; the kernel logs in again and goes on where it was."""
    monkeypatch.setattr("dh_kernel.session.session.refresh_every_s", lambda client: 1000.0)
    with opened(secure[1]) as client:
        client.ok("kept_auth = 5")
        first = client.session._client
        run = client.send(
            "import time\nnumber = 0\nwhile kept_auth == 5:\n    print(number)\n    number += 1\n    time.sleep(0.05)"
        )
        until(lambda: client.session._client is not first, "a session with a new token")
        client.ok("kept_auth = 6", lane="side")
        client.finish(run)
        assert run.text().split() == [str(number) for number in range(len(run.text().split()))]
        assert client.lost == []
        [table] = client.ok(TABLE).tables
        assert client.preview(table).data is not None
        client.ok("del t_auth, kept_auth, number")


def test_sessions_are_refreshed_before_they_expire(secure: tuple[Vanilla, Endpoint]) -> None:
    """As often as the server's own setting makes it necessary."""
    with opened(secure[1]) as client:
        assert refresh_every_s(client.session._client) == pytest.approx(10 / 3)
    assert refresh_every_s(None) == REFRESH_EVERY_S


@pytest.mark.long
def test_a_server_that_is_restarted_gets_a_new_session_and_the_user_is_told(
    secure: tuple[Vanilla, Endpoint], certificates: Certificates, place: Place, vanilla_python: str, tmp_path: Path
) -> None:
    """The kernel stays; the cell after says that the variables are gone. With TLS, at the same port."""
    server, _ = secure
    place.install(
        "secure",
        DH_KERNEL_SERVER=f"dh+tls://localhost:{server.port}",
        DH_KERNEL_KEY_FILE=str(server.key_file),
        DH_KERNEL_TLS_CA_CERT=str(certificates.authority.cert),
    )
    with started(place, "secure") as kernel:
        kernel.ok("before_auth = 1", 120.0)
        run = kernel.send("import time\nprint('begun', flush=True)\ntime.sleep(300)")
        kernel.wait(lambda: "begun" in run.text(), "the cell's start")
        os.kill(server.pid, signal.SIGKILL)
        wait_until(lambda: is_gone(server.pid), "the server's end")
        options = identity(certificates.server)
        (folder := tmp_path / "again").mkdir()
        with vanilla_server(vanilla_python, folder, options, port=server.port, key=server.key):
            error = kernel.finish(run, 90.0).error
            assert error["ename"] == "ServerRestartedError"
            assert "was restarted" in error["evalue"]
            assert "the variables of this one are gone" in error["evalue"]
            assert kernel.run("before_auth", 60.0).error["ename"] == "NameError"
            assert kernel.ok(TABLE + "\n").bundles[0]["text/plain"].count("a4") == 1
