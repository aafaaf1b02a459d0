"""Programs of pipelines that run notebooks by themselves: nbmake in pytest, and a client of a Jupyter Server's REST interface.

`jupyter run`, `jupyter execute`, `jupyter nbconvert --execute` and papermill are in `test_clients.py`.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from batching import notebook
from harness import ATTACHED, LAUNCHED, TIMEOUT_S, Place, wait_until

TABLE = "from deephaven import empty_table\nt = empty_table(3).update('X = i')\nprint('made', t.size)\nt"


@pytest.mark.long
def test_nbmake_tells_good_notebooks_from_bad_ones(attached_place: Place, tmp_path: Path) -> None:
    notebook(tmp_path / "good.ipynb", [TABLE])
    notebook(tmp_path / "bad.ipynb", ["1 / 0"])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbmake", f"--nbmake-kernel={ATTACHED}", "."],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=attached_place.environ,
        timeout=TIMEOUT_S * 2,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 1 passed" in done.stdout
    assert "ZeroDivisionError" in done.stdout


def accepts(port: int) -> bool:
    """Whether somebody listens there; the file with the address may come a little before."""
    try:
        socket.create_connection(("127.0.0.1", port), TIMEOUT_S).close()
    except ConnectionRefusedError:
        return False
    return True


@contextlib.contextmanager
def jupyter_server(place: Place, folder: Path) -> Iterator[tuple[str, str]]:
    """A Jupyter Server without a front end: its URL and its token."""
    token = secrets.token_urlsafe(24)
    options = ["--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *options, f"--ServerApp.root_dir={folder}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**place.environ, "JUPYTER_TOKEN": token},
        )
        file = Path(place.environ["JUPYTER_RUNTIME_DIR"]) / f"jpserver-{process.pid}.json"
        try:
            wait_until(lambda: process.poll() is not None or (file.exists() and file.stat().st_size > 0), "the address")
            assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
            told = json.loads(file.read_text())
            wait_until(lambda: accepts(told["port"]), "the server's port")
            yield told["url"], token
            process.send_signal(signal.SIGTERM)
            process.wait(TIMEOUT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(TIMEOUT_S)


def request(url: str, token: str, method: str, content: dict[str, Any] | None = None) -> Any:
    data = None if content is None else json.dumps(content).encode()
    asked = urllib.request.Request(url, data, {"Authorization": f"token {token}"}, method=method)
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def test_a_rest_client_starts_a_kernel_runs_code_and_ends_it(attached_place: Place, tmp_path: Path) -> None:
    """As remote clients do: kernels by REST, messages by a websocket."""
    with jupyter_server(attached_place, tmp_path) as (url, token):
        assert {LAUNCHED, ATTACHED} <= set(request(f"{url}api/kernelspecs", token, "GET")["kernelspecs"])
        kernel = request(f"{url}api/kernels", token, "POST", {"name": ATTACHED})
        address = f"{url.replace('http', 'ws', 1)}api/kernels/{kernel['id']}/channels?session_id=s"
        channels = websocket.create_connection(address, timeout=TIMEOUT_S, header=[f"Authorization: token {token}"])
        try:
            content = {"code": TABLE, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
            header = {
                "msg_id": "m1",
                "msg_type": "execute_request",
                "session": "s",
                "username": "",
                "version": "5.3",
                "date": "2024-01-02T00:00:00Z",
            }
            message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
            channels.send(json.dumps({**message, "buffers": []}))
            heard: list[dict[str, Any]] = []
            while not {"execute_reply", "idle"} <= {_kind(one) for one in heard}:
                heard.append(json.loads(channels.recv()))
        finally:
            channels.close()
        ours = [one for one in heard if one["parent_header"].get("msg_id") == "m1"]
        assert next(one for one in ours if one["msg_type"] == "execute_reply")["content"]["status"] == "ok"
        assert "made 3\n" in [one["content"]["text"] for one in ours if one["msg_type"] == "stream"]
        result = next(one for one in ours if one["msg_type"] == "execute_result")
        assert [row["X"] for row in result["content"]["data"]["application/vnd.dataresource+json"]["data"]] == [0, 1, 2]
        request(f"{url}api/kernels/{kernel['id']}", token, "DELETE")
        assert request(f"{url}api/kernels", token, "GET") == []


def _kind(message: dict[str, Any]) -> str:
    """The type of a message that answers ours; of a status what it says."""
    if message["parent_header"].get("msg_id") != "m1":
        return ""
    return str(message["content"]["execution_state"] if message["msg_type"] == "status" else message["msg_type"])
