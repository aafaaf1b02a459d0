"""Three kinds of server, one each for the whole run: vanilla, launched, and one that has dh-kernel as its plugin.

Every test that takes `kind` or `client` runs on each. A session is fresh for each test; the namespace is the server's.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import HEAP, Vanilla
from sessions import Client, Console, Kind

from dh_kernel.model import PSK_AUTH_TYPE, Endpoint
from dh_kernel.server import LaunchOptions, ServerProcess, find_java

_PLUGIN_SERVER = """
import json, os, sys, threading
def main():
    orders = json.loads(sys.stdin.readline())
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    from deephaven_server import Server
    from deephaven_server.start_jvm import start_jvm
    start_jvm(jvm_args=orders["jvm_args"], java_home=orders["java_home"])
    server = Server(host="127.0.0.1", port=0)
    server.start()
    plugin = sys.modules.get("dh_kernel.plugin")
    os.write(orders["fd"], f"{server.port} {getattr(plugin, 'registered', None)}\\n".encode())
    threading.Event().wait()
main()
"""


@pytest.fixture(scope="session")
def vanilla_kind(vanilla: Vanilla) -> Kind:
    """A server that knows nothing of us."""
    return Kind("vanilla", Endpoint(vanilla.host, vanilla.port, PSK_AUTH_TYPE, vanilla.key))


@pytest.fixture(scope="session")
def launched_kind() -> Iterator[Kind]:
    """A server launched as a kernel does, its output handed over to the runtime."""
    process = ServerProcess.start(LaunchOptions(heap=HEAP))
    try:
        endpoint = process.wait_ready()
        process.hand_over_output()
        yield Kind("launched", endpoint)
    finally:
        process.stop()


@pytest.fixture(scope="session")
def plugin_kind(vanilla: Vanilla, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kind]:
    """A server from this environment, where dh-kernel's entry point registers the channel. It has the vanilla one's key."""
    folder: Path = tmp_path_factory.mktemp("plugin")
    read_end, write_end = os.pipe()
    with (folder / "server.log").open("wb") as log, os.fdopen(read_end, "rb", buffering=0) as report:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _PLUGIN_SERVER],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(write_end,),
            start_new_session=True,
            cwd=folder,
        )
        try:
            os.close(write_end)
            assert process.stdin is not None
            options = [f"-Xmx{HEAP}", f"-Dauthentication.psk={vanilla.key}", "-XX:+IgnoreUnrecognizedVMOptions"]
            orders = {"fd": write_end, "jvm_args": options, "java_home": find_java().home}
            process.stdin.write(json.dumps(orders).encode() + b"\n")
            process.stdin.flush()
            readable, _, _ = select.select([report], [], [], 120.0)
            line = report.readline().decode().split() if readable else []
            assert line, f"no server:\n{(folder / 'server.log').read_text('utf-8')[-3000:]}"
            assert line[1] == "True", (
                "the entry point did not register the channel; is dh-kernel installed in this environment?"
            )
            yield Kind("plugin", Endpoint("127.0.0.1", int(line[0]), PSK_AUTH_TYPE, vanilla.key))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30.0)
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()


# What they test is in the engine and in what is shown of it, wherever the server comes from.
_ON_ANY_SERVER = ("test_lanes.py", "test_table_kinds.py", "test_table_types.py", "test_tables.py")
_IN_ANY_INTERPRETER = ("test_an_interrupt_of_a_compilation_leaves_the_compiler_whole",)
_ON_SERVERS_WITH_THE_PLUGIN = ("test_a_cut_stream_loses_and_doubles_nothing", "test_a_wrong_key")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to long runs what another kind of server shows as well.

    A server with the plugin differs from a vanilla one in how a connection begins.
    """
    for item in items:
        kind = getattr(getattr(item, "callspec", None), "params", {}).get("kind")
        name = getattr(item, "originalname", "")
        if (kind == "plugin" and name not in _ON_SERVERS_WITH_THE_PLUGIN) or (
            kind == "vanilla" and (item.path.name in _ON_ANY_SERVER or name in _IN_ANY_INTERPRETER)
        ):
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", params=["vanilla", "launched", "plugin"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of server in turn."""
    found: Kind = request.getfixturevalue(f"{request.param}_kind")
    return found


@pytest.fixture
def client(kind: Kind) -> Iterator[Client]:
    """A fresh session."""
    made = kind.open()
    yield made
    made.close()


@pytest.fixture
def console(kind: Kind, tmp_path: Path) -> Iterator[Console]:
    """A console of the same server."""
    made = Console(kind.endpoint, tmp_path)
    yield made
    made.close()


@pytest.fixture
def fresh() -> str:
    """A suffix for names that no other test has used: the namespace is shared."""
    return secrets.token_hex(4)
