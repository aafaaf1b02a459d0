"""Wrong settings and machines that lack something: the kernel lives, and its first cell says what to do."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from harness import LAUNCHED, PYTHON, Kernel, Place, Vanilla, started, write_key

SECRET = "this-key-must-never-show"


class _Silent(BaseHTTPRequestHandler):
    """Refuses every request, without a word in the test's output."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def _recorded(place: Place, **environ: str) -> Iterator[tuple[Kernel, list[str]]]:
    """A kernel with these settings, and all that it says, as text."""
    said: list[str] = []
    with started(place, LAUNCHED, environ) as kernel:
        session = kernel.client.session
        unserialize = session.deserialize

        def note(*arguments: object, **more: object) -> dict[str, object]:
            message: dict[str, object] = unserialize(*arguments, **more)
            said.append(json.dumps(message, default=str))
            return message

        session.deserialize = note
        yield kernel, said


def _first_error(place: Place, **environ: str) -> str:
    """What the first cell says; checks what holds for every bad setting."""
    with _recorded(place, **environ) as (kernel, said):
        info = kernel.answer(kernel.client.kernel_info())["content"]
        assert info["implementation"] == "dh-kernel"
        run = kernel.run("print('never')", 120.0)
        assert run.reply["status"] == "error"
        assert run.text() == ""
        text = run.error["evalue"]
        assert text in "\n".join(run.error["traceback"])
        assert "File " not in "\n".join(run.error["traceback"])  # a sentence, not a Python traceback
        completed = kernel.answer(kernel.client.complete("pri"))["content"]
        assert completed["status"] == "ok"
        again = kernel.run("1", 120.0)
        assert again.reply["status"] == "error"
        assert kernel.manager.is_alive()
        assert said
        assert not any(SECRET in message for message in said)
    return str(text)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """A key that no server knows."""
    return write_key(tmp_path / "key", SECRET)


def test_unknown_host(place: Place, key_file: Path) -> None:
    text = _first_error(place, DH_KERNEL_SERVER="no-such-host.invalid:10000", DH_KERNEL_KEY_FILE=str(key_file))
    assert "no-such-host.invalid" in text
    assert "DH_KERNEL_SERVER" in text


def test_closed_port(place: Place, key_file: Path) -> None:
    with socket.socket() as held:  # bound and not listening: nobody else can take it, and it refuses
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        text = _first_error(place, DH_KERNEL_SERVER=address, DH_KERNEL_KEY_FILE=str(key_file))
    assert address in text
    assert "DH_KERNEL_SERVER" in text


def test_port_of_something_else(place: Place, key_file: Path) -> None:
    """It answers, and is no Deephaven server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Silent) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{other.server_port}"
        text = _first_error(place, DH_KERNEL_SERVER=address, DH_KERNEL_KEY_FILE=str(key_file))
        other.shutdown()
    assert address in text
    assert "DH_KERNEL_SERVER" in text


def test_wrong_key_in_a_file(place: Place, vanilla: Vanilla, key_file: Path) -> None:
    text = _first_error(place, DH_KERNEL_SERVER=vanilla.address, DH_KERNEL_KEY_FILE=str(key_file))
    assert vanilla.address in text
    assert "DH_KERNEL_KEY_FILE" in text


def test_wrong_key_in_the_environment(place: Place, vanilla: Vanilla) -> None:
    text = _first_error(place, DH_KERNEL_SERVER=vanilla.address, DH_KERNEL_KEY=SECRET)
    assert "DH_KERNEL_KEY" in text


def test_no_key_where_one_is_needed(place: Place, vanilla: Vanilla) -> None:
    text = _first_error(place, DH_KERNEL_SERVER=vanilla.address)
    assert "DH_KERNEL_KEY" in text


def test_missing_key_file(place: Place, vanilla: Vanilla) -> None:
    text = _first_error(place, DH_KERNEL_SERVER=vanilla.address, DH_KERNEL_KEY_FILE="/nonexistent/key")
    assert "DH_KERNEL_KEY_FILE" in text
    assert "/nonexistent/key" in text


def test_key_pasted_into_the_address(place: Place) -> None:
    text = _first_error(place, DH_KERNEL_SERVER=f"http://127.0.0.1:10000/?psk={SECRET}")
    assert "DH_KERNEL_SERVER" in text


def test_no_java(place: Place) -> None:
    text = _first_error(place, DH_KERNEL_JAVA_HOME="/nonexistent")
    assert "DH_KERNEL_JAVA_HOME" in text
    assert "/nonexistent" in text
    assert "JDK" in text


def test_java_without_compiler(place: Place, tmp_path: Path) -> None:
    """As a JRE is: everything that makes a Java, and no javac."""
    home = tmp_path / "jre"
    for file in ("bin/java", "lib/server/libjvm.so"):
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_text("#!/bin/sh\nexit 1\n", "utf-8")
        (home / file).chmod(0o755)
    (home / "release").write_text('JAVA_VERSION="21.0.4"\n', "utf-8")
    text = _first_error(place, DH_KERNEL_JAVA_HOME=str(home))
    assert str(home) in text
    assert "JRE" in text
    assert "JDK" in text


@pytest.mark.long
def test_taken_port(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        text = _first_error(place, DH_KERNEL_PORT=str(port))
    assert str(port) in text
    assert "DH_KERNEL_PORT" in text


def test_python_without_deephaven(place: Place, tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\nexec {PYTHON} -I -S "$@"\n', "utf-8")  # without site-packages
    program.chmod(0o755)
    text = _first_error(place, DH_KERNEL_PYTHON=str(program))
    assert str(program) in text
    assert "DH_KERNEL_PYTHON" in text
    assert "deephaven-server" in text


def test_misspelt_variable(place: Place) -> None:
    text = _first_error(place, DH_KERNEL_SEVER="localhost:10000")
    assert "DH_KERNEL_SEVER" in text
    assert "DH_KERNEL_SERVER" in text


def test_values_that_are_none(place: Place) -> None:
    """All at once: one error tells all that is wrong."""
    text = _first_error(place, DH_KERNEL_START_TIMEOUT="much", DH_KERNEL_ROWS="many", DH_KERNEL_PORT="99999")
    for variable, value in (("START_TIMEOUT", "much"), ("ROWS", "many"), ("PORT", "99999")):
        assert f"DH_KERNEL_{variable}" in text
        assert value in text
