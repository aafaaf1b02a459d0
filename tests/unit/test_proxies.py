"""HTTP proxies of the environment: never on the way to this machine, elsewhere as gRPC does. The servers are gRPC's own."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pyarrow as pa
import pyarrow.flight as flight
import pytest

from dh_kernel.errors import ConnectError
from dh_kernel.model import Endpoint
from dh_kernel.session.connect import channel_options, connect, flight_client
from dh_kernel.session.proxies import is_loopback, is_proxied

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")
WITHIN_S = 20.0


@pytest.fixture
def dead_port() -> Iterator[int]:
    """One where nobody listens, and nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[int]:
    """The port of a server without any service."""
    made = grpc.server(ThreadPoolExecutor(1))
    port = made.add_insecure_port("127.0.0.1:0")
    made.start()
    try:
        yield port
    finally:
        made.stop(None).wait(WITHIN_S)


@contextlib.contextmanager
def proxy() -> Iterator[tuple[int, list[bytes]]]:
    """One that lets nobody through, and what it was asked for."""
    asked: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                end, _ = listener.accept()
                with end, contextlib.suppress(OSError):
                    asked.append(end.recv(1000).split(b"\r\n")[0])
                    end.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(WITHIN_S)


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_a_server_on_this_machine_is_reached_whatever_proxy_the_environment_names(
    server: int, dead_port: int, monkeypatch: pytest.MonkeyPatch, variable: str, keep_alive: bool
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{dead_port}")
    endpoint = Endpoint("127.0.0.1", server)
    with grpc.insecure_channel(endpoint.address, channel_options(endpoint, keep_alive=keep_alive)) as channel:
        grpc.channel_ready_future(channel).result(WITHIN_S)


def test_a_preview_of_a_table_on_this_machine_needs_no_proxy(dead_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{dead_port}")
    with (
        flight.FlightServerBase("grpc://127.0.0.1:0") as server,
        flight_client(Endpoint("127.0.0.1", server.port)) as client,
        pytest.raises(pa.ArrowNotImplementedError),  # it has no service; but it answers
    ):
        list(client.list_actions(flight.FlightCallOptions(timeout=WITHIN_S)))


def test_a_proxy_is_asked_for_a_server_elsewhere_and_nobody_looks_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name cannot be resolved here: only a proxy knows it."""
    with proxy() as (port, asked):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        with pytest.raises(ConnectError, match=r"db\.invalid:10000, asked for through an HTTP proxy: .*Next step: .*no_proxy"):
            connect(Endpoint("db.invalid", 10000))
        assert asked[0].startswith(b"CONNECT db.invalid:10000 ")


def test_a_server_that_no_proxy_names_is_greeted(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxy() as (port, asked):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("no_proxy", ".invalid")
        with pytest.raises(ConnectError, match=r"the host 'db\.invalid' is not known"):
            connect(Endpoint("db.invalid", 10000))
        assert not asked


@pytest.mark.parametrize(
    ("host", "environ", "proxied"),
    [
        ("db", {}, False),
        ("db", {"http_proxy": "http://p:1"}, True),
        ("db", {"HTTP_PROXY": "http://p:1"}, False),
        ("db", {"http_proxy": "socks5://p:1"}, False),
        ("db", {"http_proxy": "http://p:1", "grpc_proxy": ""}, False),
        ("db", {"https_proxy": "http://p:1", "no_proxy": "other, DB"}, False),
        ("db", {"https_proxy": "http://p:1", "no_proxy": "db", "no_grpc_proxy": "other"}, True),
        ("db.example.org", {"https_proxy": "http://p:1", "no_proxy": ".example.org"}, False),
        ("10.1.2.3", {"https_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, False),
        ("11.1.2.3", {"https_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, True),
        ("localhost", {"https_proxy": "http://p:1"}, False),
        ("127.8.0.1", {"https_proxy": "http://p:1"}, False),
        ("[::1]", {"https_proxy": "http://p:1"}, False),
    ],
)
def test_what_the_environment_says_counts_as_for_grpc(host: str, environ: dict[str, str], proxied: bool) -> None:
    assert is_proxied(Endpoint(host, 1), environ) is proxied


def test_what_the_user_says_of_the_channel_goes_before() -> None:
    named = Endpoint("localhost", 1, options=(("grpc.http_proxy", "http://p:1"),))
    assert is_proxied(named, {})
    assert "grpc.enable_http_proxy" not in dict(channel_options(named))
    straight = Endpoint("db", 1, options=(("grpc.enable_http_proxy", 0),))
    assert not is_proxied(straight, {"http_proxy": "http://p:1"})


def test_which_hosts_are_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "a.localhost", "127.0.0.1", "[::1]", "127.0.0.2")))
    assert not any(map(is_loopback, ("db", "10.0.0.1", "localhost.example.org", "[2001:db8::1]")))
