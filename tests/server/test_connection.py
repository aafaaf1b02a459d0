"""Streams that break, kernels that vanish, servers that refuse: each ends in a resumed session or in a clear error."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest
from harness import Vanilla
from proxy import Proxy
from sessions import Client, Console, Kind, until

from dh_kernel.errors import AuthenticationError, ConnectError, ServerTooOldError, SessionError, SessionLostError
from dh_kernel.model import PSK_AUTH_TYPE, Endpoint
from dh_kernel.session.session import Session, SessionOptions

_FORGET = """
import sys
for _module in list(sys.modules.values()):
    _name = getattr(_module, '__name__', '')
    if isinstance(_name, str) and _name.startswith('_dh_kernel_runtime_') and '.' not in _name:
        _module._sessions.pop({id!r}, None)
"""
LINES = "import time\nfor i in range(300):\n    print('line', i)\n    time.sleep(0.01)\n'reply'"


@pytest.fixture
def proxy(kind: Kind) -> Iterator[Proxy]:
    made = Proxy(kind.endpoint)
    yield made
    made.close()


def through(proxy: Proxy, kind: Kind, linger_s: float = 60.0) -> Client:
    return Client(proxy.endpoint, launched=kind.launched, linger_s=linger_s)


def test_a_cut_stream_loses_and_doubles_nothing(kind: Kind, proxy: Proxy) -> None:
    client = through(proxy, kind)
    run = client.send(LINES)
    for mark in ("line 30\n", "line 120\n", "line 200\n"):
        client.wait_for_text(run, mark)
        assert proxy.cut() > 0
    client.finish(run)
    assert run.text() == "".join(f"line {i}\n" for i in range(300))
    assert run.result == "'reply'"
    assert client.lost == []
    client.close()


def test_a_break_leaves_no_thread_here(kind: Kind, proxy: Proxy) -> None:
    """The connection that broke is given up whole: pydeephaven's keep-alive thread of it ends as well."""
    client = through(proxy, kind)
    timers = {thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)}
    for _ in range(3):
        proxy.cut()
        assert client.value("1 + 1") == "2"

    def more() -> int:
        return len({thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)} - timers)

    until(lambda: more() <= 1, "the ends of the old connections' threads", 5)
    client.close()


@pytest.mark.long
def test_a_flood_is_cut(kind: Kind, proxy: Proxy) -> None:
    """The break comes while frames are under way in both directions."""
    client = through(proxy, kind)
    run = client.send("for i in range(300_000): print('line', i)")
    for mark in ("line 1000\n", "line 100000\n"):
        client.wait(lambda: len(run.text()) > len(mark) * 1000, "output")  # noqa: B023
        proxy.cut()
    client.finish(run)
    assert run.text() == "".join(f"line {i}\n" for i in range(300_000))
    client.close()


@pytest.mark.long
def test_a_resumed_session_lives_longer_than_it_lingers(kind: Kind, proxy: Proxy) -> None:
    """Every break that ends in time is forgotten: no timer of it is left that closes the session."""
    client = through(proxy, kind, linger_s=1.5)
    run = client.send("import time\nt0 = time.time()\nwhile time.time() - t0 < 4: print('x' * 1000)", show_tables=False)
    client.wait_for_text(run, "x")
    proxy.cut()
    client.finish(run)
    assert run.done is not None
    assert run.done.error is None
    assert client.value("1 + 1") == "2"
    assert client.lost == []
    client.close()


def test_a_cell_sent_while_the_stream_is_broken_runs_once(kind: Kind, proxy: Proxy, fresh: str) -> None:
    client = through(proxy, kind)
    client.ok(f"count_{fresh} = 0")
    proxy.cut()
    runs = [client.send(f"count_{fresh} += 1") for _ in range(5)]
    for run in runs:
        client.finish(run)
    assert client.value(f"count_{fresh}") == "5"
    client.close()


THREADS = "[thread.name for thread in __import__('threading').enumerate()]"


def test_a_session_whose_kernel_vanishes_is_closed_and_its_cell_interrupted(
    kind: Kind, proxy: Proxy, console: Console, fresh: str
) -> None:
    client = through(proxy, kind, linger_s=1.0)
    # The loop is a function's: an exception at a bare loop's jump can miss the `try` around it (CPython 3.11).
    run = client.send(
        f"def loop():\n    while True: sum(range(99))\nprint('begun')\ntry:\n    loop()\nfinally:\n    ended_{fresh} = True"
    )
    client.wait_for_text(run, "begun")
    proxy.close()
    client.wait(lambda: client.lost, "the loss")
    assert isinstance(client.lost[0], SessionLostError)
    until(lambda: console.value(f"'ended_{fresh}' in globals()"), "the interrupt")
    until(lambda: not any(client.session.id in name for name in console.value(THREADS)), "the end of the session's threads")
    client.session.close(say_goodbye=False)


def test_a_closed_session_leaves_no_thread_on_the_server(kind: Kind, console: Console) -> None:
    opened = kind.open()
    opened.ok("print(1)")
    assert any(opened.session.id in name for name in console.value(THREADS))
    opened.close()
    until(lambda: not any(opened.session.id in name for name in console.value(THREADS)), "the end of the session's threads")


def test_a_session_that_the_server_has_forgotten_is_lost_and_not_hung(kind: Kind, proxy: Proxy, console: Console) -> None:
    """As after a restart of the server at the same address: what ran there is gone, and the kernel has to say so."""
    client = through(proxy, kind, linger_s=10.0)
    client.ok("x = 1")
    run = client.send("import time\nprint('begun')\ntime.sleep(1.5)")
    client.wait_for_text(run, "begun")
    console.session.run_script(_FORGET.format(id=client.session.id))
    proxy.cut()
    client.wait(lambda: client.lost or run.done, "the loss of the session", 20)
    assert client.lost
    client.session.close(say_goodbye=False)


def test_another_server_at_the_address_is_a_loss(vanilla_kind: Kind, plugin_kind: Kind) -> None:
    """The same, with a real other server: it has the key, and never had the session."""
    proxy = Proxy(vanilla_kind.endpoint)
    client = Client(proxy.endpoint, linger_s=10.0)
    client.ok("x = 1")
    proxy.target = (plugin_kind.endpoint.host, plugin_kind.endpoint.port)
    proxy.cut()
    run = client.send("x")
    client.wait(lambda: client.lost or run.done, "the loss of the session", 20)
    assert client.lost
    client.session.close(say_goodbye=False)
    proxy.close()


def refused(endpoint: Endpoint) -> SessionError:
    with pytest.raises(SessionError) as caught:
        Session.open(endpoint, SessionOptions(), lambda event, size: None, lambda error: None)
    error = caught.value
    assert endpoint.auth_token not in str(error)
    assert endpoint.auth_token not in repr(error)
    chain: BaseException | None = error
    while chain is not None:
        assert endpoint.auth_token not in str(chain)
        chain = None if chain.__suppress_context__ and chain.__cause__ is None else chain.__cause__ or chain.__context__
    assert "Next step" in str(error)
    return error


def test_a_wrong_key(kind: Kind) -> None:
    error = refused(Endpoint(kind.endpoint.host, kind.endpoint.port, PSK_AUTH_TYPE, "wrong-key-Zx81"))
    assert type(error) is AuthenticationError
    assert kind.endpoint.address in str(error)


def test_a_wrong_way_to_authenticate(vanilla_kind: Kind) -> None:
    endpoint = vanilla_kind.endpoint
    assert type(refused(Endpoint(endpoint.host, endpoint.port, "Anonymous", "token-Zx82"))) is AuthenticationError


def test_an_unknown_host() -> None:
    error = refused(Endpoint("no-such-host.invalid", 10000, PSK_AUTH_TYPE, "key-Zx83"))
    assert type(error) is ConnectError
    assert "no-such-host.invalid" in str(error)
    assert "DH_KERNEL_SERVER" in str(error)


def test_a_closed_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    error = refused(Endpoint("127.0.0.1", port, PSK_AUTH_TYPE, "key-Zx84"))
    assert type(error) is ConnectError
    assert f"127.0.0.1:{port}" in str(error)


def test_a_server_that_is_none() -> None:
    """Something listens there, and speaks something else."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    end, _ = listener.accept()
                    end.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    end.close()

        threading.Thread(target=serve, daemon=True).start()
        error = refused(Endpoint("127.0.0.1", listener.getsockname()[1], PSK_AUTH_TYPE, "key-Zx85"))
        assert type(error) is ConnectError
        listener.shutdown(socket.SHUT_RDWR)


def test_a_server_whose_registry_refuses(vanilla: Vanilla, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the runtime raises there arrives as one sentence. The script stands in for a server without the private field."""
    said = "this server (0.1) does not let it. Next step: install dh-kernel"
    script = f"class EngineError(RuntimeError): pass\nraise EngineError({said!r})"
    monkeypatch.setattr("dh_kernel.session.session.opening_script", lambda variable, session_id, options: script)
    error = refused(Endpoint(vanilla.host, vanilla.port, PSK_AUTH_TYPE, vanilla.key))
    assert type(error) is ServerTooOldError
    assert str(error) == f"{vanilla.address}: {said}"
