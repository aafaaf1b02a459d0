"""Keys, headers and private keys of attached servers, after failures of every kind: they show in no kernelspec, command line,
log, message or file, and nothing that the kernel starts inherits them.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from certificates import Authority, Pair, encrypted
from harness import HEAP, TIMEOUT_S, Kernel, Place, Vanilla, descendants, write_key
from proxy import Proxy
from sessions import Console

from dh_kernel.model import PSK_AUTH_TYPE, Endpoint

READY_TIMEOUT_S = 120.0
WRONG, HEADER, TYPED, PASSPHRASE, KEPT, UNUSED = (
    f"{name}-must-never-show" for name in ("wrong-key", "header-value", "typed-key", "passphrase", "keyring-key", "unused-key")
)
_FORGET = """
import sys
for _module in list(sys.modules.values()):
    _name = getattr(_module, '__name__', '')
    if isinstance(_name, str) and _name.startswith('_dh_kernel_runtime_') and '.' not in _name:
        for _session in list(_module._sessions.values()):
            _module._sessions.pop(_session.id, None) if _session.id in {ids!r} else None
"""
_KEYRING = f"""
def get_password(service, user):
    if service == "broken":
        raise RuntimeError("locked: {KEPT}")
    return {KEPT!r}
"""


@dataclass
class Scene:
    """A kernel with debugging on, its log, and all that was said and seen of it."""

    place: Place
    server: Vanilla
    proxy: Proxy
    client: Pair
    folder: Path
    log: Path
    environ: dict[str, str]
    kernel: Kernel
    said: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)

    def look(self) -> None:
        """Note the command lines of the kernel and of all below it, and the environments of what the kernel has started."""
        for pid in (self.kernel.pid, *descendants(self.kernel.pid)):
            self.said.append(_of_process(pid, "cmdline"))
            if pid != self.kernel.pid:
                self.said.append(_of_process(pid, "environ"))

    def run(self, code: str, timeout_s: float = TIMEOUT_S, **options: Any) -> Any:
        done = self.kernel.run(code, timeout_s, **options)
        self.look()
        return done

    def program(self, *arguments: str, **environ: str) -> str:
        """What a command says, on both of its streams."""
        done = self.place.run("dh-kernel", *arguments, cwd=self.folder, **{**self.environ, **environ})
        self.said.append(done.stdout + done.stderr)
        return done.stdout + done.stderr

    def leaks(self) -> list[str]:
        """Where a secret shows."""
        texts = {f"said {number}": text for number, text in enumerate(self.said)}
        for path in self.place.folder.rglob("*"):
            if path.is_file() and not path.is_relative_to(self.folder):
                texts[str(path)] = path.read_bytes().decode("utf-8", "replace")
        assert len(texts) > 20
        return [f"{what} in {where}" for where, text in texts.items() for what, value in self.secrets.items() if value in text]


def _of_process(pid: int, file: str) -> str:
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""


@pytest.fixture
def scene(tmp_path: Path, vanilla: Vanilla) -> Iterator[Scene]:
    """Attached by a kernelspec through a proxy, with the key in the environment and a header by reference."""
    (root := tmp_path / "jupyter").mkdir()
    (folder := root / "secret").mkdir()  # has the secrets themselves
    (folder / "keyring.py").write_text(_KEYRING)
    place = Place(root)
    proxy = Proxy(Endpoint(vanilla.host, vanilla.port, PSK_AUTH_TYPE, vanilla.key))
    authority = Authority(folder, "authority")
    client = authority.issue("me")
    environ = {
        "DH_KERNEL_DEBUG": "1",
        "DH_KERNEL_CLASS_ARCHIVE": "0",
        "DH_KERNEL_HEAP": HEAP,
        "XDG_CACHE_HOME": str(root / "cache"),
        "TMPDIR": str(root / "tmp"),
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    (root / "tmp").mkdir()
    (exposed := folder / "exposed").write_text(vanilla.key)
    exposed.chmod(0o644)
    headers = f"x-secret=env:HEADER_VALUE x-exposed=file:{exposed}"
    place.install("prod", DH_KERNEL_SERVER=proxy.endpoint.address, DH_KERNEL_HEADERS=headers)
    manager = place.manager("prod")
    log = root / "kernel.log"
    with log.open("wb") as file:
        secret_environ = {"DH_KERNEL_KEY": vanilla.key, "HEADER_VALUE": HEADER, "WRONG": WRONG}
        secret_environ |= {"DH_KERNEL_KEY_FILE": "env:UNUSED", "UNUSED": UNUSED}  # DH_KERNEL_KEY goes before it
        manager.start_kernel(env={**place.environ, **environ, **secret_environ}, cwd=str(root), stdout=file, stderr=file)
    client_of_kernel = manager.client()
    said: list[str] = []
    unserialize = client_of_kernel.session.deserialize

    def note(*arguments: object, **more: object) -> dict[str, object]:
        message: dict[str, object] = unserialize(*arguments, **more)
        said.append(json.dumps(message, default=str))
        return message

    client_of_kernel.session.deserialize = note
    try:
        client_of_kernel.start_channels()
        client_of_kernel.wait_for_ready(timeout=TIMEOUT_S)
        kernel = Kernel(manager, client_of_kernel)
        made = Scene(place, vanilla, proxy, client, folder, log, environ, kernel, said)
        body = "".join(client.key.read_text().splitlines()[1:2])
        made.secrets = {
            "the key": vanilla.key,
            "a wrong key": WRONG,
            "a header": HEADER,
            "a typed key": TYPED,
            "a passphrase": PASSPHRASE,
            "the keyring's": KEPT,
            "a key that is named and not used": UNUSED,
            "a private key": body,
        }
        yield made
    finally:
        client_of_kernel.stop_channels()
        manager.shutdown_kernel()
        manager.cleanup_resources()
        proxy.close()


def test_no_secret_shows_anywhere(scene: Scene, tmp_path: Path) -> None:
    server, folder = scene.server.address, scene.folder
    with socket.create_server(("127.0.0.1", 0)) as free:
        closed = f"127.0.0.1:{free.getsockname()[1]}"
    wrong_file = write_key(folder / "wrong", WRONG)
    broken_file = write_key(folder / "broken", f"{WRONG}\n{WRONG}é")
    locked = encrypted(folder, PASSPHRASE)
    identity = f"--tls-client-cert {scene.client.cert} --tls-client-key {scene.client.key}"

    # It works, and code fails in it. The first cell that shows, and no other, tells of the file that others can read.
    assert scene.run("1 + 1", READY_TIMEOUT_S, silent=True).text("stderr") == ""
    first = scene.run("1 + 1")
    assert first.reply["status"] == "ok"
    assert first.text("stderr").count(f"chmod 600 {folder / 'exposed'}") == 1
    assert "chmod" not in scene.run("1 + 1").text("stderr")
    assert scene.run("def f(): raise ValueError('mine')\nf()").error["ename"] == "ValueError"
    # Credentials that are refused, unusable, absent; servers that are not there, or speak otherwise.
    for words, says in (
        (f"{server} --key-env WRONG", "does not accept the credentials"),
        (f"{server} --key-file {wrong_file} --header x-secret=env:HEADER_VALUE", "does not accept the credentials"),
        (f"{server} --key-file {broken_file}", "cannot be sent"),
        (f"{server} --key-file keyring:dh/me", "does not accept the credentials"),
        (f"{server} --key-file keyring:broken/me", "the keyring cannot be asked"),
        (f"{server} --auth basic --key-env WRONG", "does not accept the credentials"),
        (f"{server} --auth no.such.Handler --key-env WRONG", "does not accept the credentials"),
        (f"{closed} --key-env WRONG", "no connection to"),
        (f"no-such-host.invalid:1 --key-env WRONG {identity}", "is not known"),
        (f"dh+tls://{server} --key-env WRONG {identity}", "speaks plaintext"),
        (f"dh+tls://{server} --tls-client-cert {scene.client.cert} --tls-client-key {locked}", "is encrypted"),
        (f"dh+tls://me:{TYPED}@{server}", "write dh+tls://"),
        (f"dh+tls://me:{TYPED}/part@{server}", "no address of a server"),
        (f"--host {server}:{TYPED}", "no address of a server"),
        (f"'dh+plain://{server}/?psk={TYPED}'", "write dh+plain://"),
        (f"{server} --key {TYPED}", "A key never stands in the line"),
        (f"{server} --header x-secret={TYPED}", "has to be file:"),
    ):
        assert says in scene.run(f"%dh attach {words}").error["evalue"], words
    # A session that is lost, beside a cell that runs, and the next one.
    console = Console(scene.proxy.endpoint, tmp_path)
    ids = console.value(
        "[s.id for n, m in list(__import__('sys').modules.items()) if n.startswith('_dh_kernel_runtime_') and '.' not in n"
        " for s in m._sessions.values()]"
    )
    run = scene.kernel.send("import time\nprint('begun', flush=True)\ntime.sleep(60)")
    scene.kernel.wait(lambda: "begun" in run.text(), "the cell's start")
    console.session.run_script(_FORGET.format(ids=ids))
    console.close()
    scene.proxy.cut()
    error = scene.kernel.finish(run).error
    assert error["ename"] == "SessionEndedError"
    assert "its global variables are still there" in error["evalue"]
    assert scene.run("1 + 1").reply["status"] == "ok"
    # Commands beside it.
    host = ("--host", scene.server.host, "--port", str(scene.server.port))
    assert "does not accept" in scene.program("doctor", "--json", *host, DH_KERNEL_KEY=WRONG)
    assert "speaks plaintext" in scene.program("doctor", "--json", *host, "--tls", *identity.split())
    assert "does not accept" in scene.program("run", "--json", *host, "--auth-token-file", str(wrong_file), "-c", "1")
    header = ("--header", "x-secret=env:HEADER_VALUE", "--debug")
    assert "1" in scene.program("run", *host, *header, "-c", "1", DH_KERNEL_KEY=scene.server.key, HEADER_VALUE=HEADER)
    exposed = ("--auth-token-file", str(folder / "exposed"))
    assert scene.program("run", *host, *exposed, "-c", "1").count("chmod 600") == 1
    assert "chmod" not in scene.program("run", "--quiet", *host, *exposed, "-c", "1")
    assert scene.program(
        "install", "--prefix", str(scene.place.folder), *host, "--key-file", str(wrong_file), *identity.split()
    )
    assert "chmod 600" in scene.run(f"%dh attach {server} --key-file {folder / 'exposed'}").text()
    # A server of the kernel's own inherits nothing of it.
    shown = scene.run("%dh detach\n", READY_TIMEOUT_S)
    assert shown.reply["status"] == "ok", shown.reply
    assert scene.run("import os\nprint(dict(os.environ))").text().count("TMPDIR") == 1
    assert descendants(scene.kernel.pid)
    assert "execute_request" in scene.log.read_text("utf-8", "replace")  # debugging was on
    assert scene.leaks() == []
