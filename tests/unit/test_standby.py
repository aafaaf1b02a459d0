"""Spare servers, with a program in place of Deephaven: who gets one, who owns it, and what is left when somebody is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dh_kernel.cli import main
from dh_kernel.model import Death
from dh_kernel.server import Java, LaunchOptions, ServerProcess, keeper, standby, workdir
from dh_kernel.versions import Environment

pytestmark = pytest.mark.skipif(not standby.POSSIBLE, reason="no file descriptors can be handed over here")
JAVA = Java("/nowhere", 17, True)
TIMEOUT_S = 20.0
# Speaks the launcher's side, and nothing else: reports, becomes another's, ends with its lifeline.
FAKE = f"""#!{sys.executable} -S
import json, os, sys
orders = json.loads(sys.stdin.buffer.raw.readline())
os.makedirs(orders["workdir"], exist_ok=True)
def report(**content):
    os.write(orders["report_fd"], json.dumps(content).encode() + b"\\n")
report(version="42.7", stamps=[[os.environ["FAKE_PACKAGES"], os.stat(os.environ["FAKE_PACKAGES"]).st_mtime_ns]])
report(port=4711)
for line in sys.stdin.buffer:
    if line == b"stop\\n":
        sys.exit(0)
    order = json.loads(line.removeprefix(b"adopt "))
    with open(os.path.join(orders["workdir"], "adopted"), "w") as file:
        json.dump(order, file)
    if order["environment"].get("FAKE_REFUSES"):
        report(error="failed", message="cannot", trace="")
    else:
        report(port=4711)
os.kill(os.getpid(), 9)
"""


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S} s: {what}"
        time.sleep(0.01)


def assert_within(event: threading.Event) -> None:
    assert event.wait(TIMEOUT_S)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Kept:
    """A keeper in this process, and how to launch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "fake-python"
        self.options = LaunchOptions(python=str(self.python), standby=1, heap="1g")
        self.path = standby.socket_path(str(folder / "dh-kernel"))
        self.keeper: keeper.Keeper
        self.thread: threading.Thread

    def serve(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen()
        self.keeper = keeper.Keeper(self.listener, lambda process: None)
        self.thread = threading.Thread(target=self.keeper.serve)
        self.thread.start()

    def keep(self, count: int = 1, **changes: Any) -> None:
        options = replace(self.options, standby=count, **changes)
        assert standby.keep(options, JAVA)
        wait_until(lambda: len(self.waiting()) == count, f"{count} spares")

    def status(self) -> dict[str, Any]:
        return standby.ask(self.path, {"op": "status"}) or {}

    def waiting(self) -> list[int]:
        return [spare["pid"] for spare in self.status().get("waiting", ())]

    def claim(self, **changes: Any) -> ServerProcess | None:
        return ServerProcess._claimed(replace(self.options, **changes), JAVA)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for a socket's name."""
    with tempfile.TemporaryDirectory(prefix="sb") as folder:
        yield Path(folder)


@pytest.fixture
def kept(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kept]:
    (short_path / "dh-kernel").mkdir(mode=0o700)
    (short_path / "packages").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    monkeypatch.setenv("TMPDIR", str(short_path))
    monkeypatch.setenv("FAKE_PACKAGES", str(short_path / "packages"))
    monkeypatch.setattr(keeper, "QUIET_S", 0.0)
    monkeypatch.setattr(keeper, "ASKED_WITHIN_S", 1.0)
    monkeypatch.setattr("dh_kernel.server.process.find_java", lambda *_, **__: JAVA)
    environment = dict(os.environ)
    made = Kept(short_path)
    made.python.write_text(FAKE)
    made.python.chmod(0o700)
    made.serve()
    yield made
    made.keeper.stop()
    made.thread.join(TIMEOUT_S)
    assert not made.thread.is_alive()
    made.listener.close()
    os.environ.clear()
    os.environ.update(environment)
    assert not list(short_path.glob("dh-kernel-*")), "servers' folders"


def ended(process: ServerProcess) -> Death:
    assert process._dead.wait(TIMEOUT_S)
    assert process.death is not None
    return process.death


def test_a_claimed_server_is_told_where_it_stands(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.keep()
    monkeypatch.setenv("MINE", "1")
    monkeypatch.chdir(kept.folder)
    process = kept.claim()
    assert process is not None
    assert process.wait_ready().port == 4711
    order = json.loads(Path(process._workdir, "adopted").read_text())
    assert order["cwd"] == str(kept.folder)
    assert order["environment"]["MINE"] == "1"
    process.stop()
    assert ended(process).exit_code == 0
    assert not os.path.exists(process._workdir)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, None), (signal.SIGSEGV, None)])
def test_a_claimed_servers_end_is_known_by_its_signal(kept: Kept, number: int, code: int | None) -> None:
    kept.keep()
    process = kept.claim()
    assert process is not None
    os.kill(process.pid, number)
    assert (ended(process).signal, process.death and process.death.exit_code) == (number, code)
    wait_until(lambda: not is_alive(process.pid) and kept.status()["claimed"] == 0, "reaped")


def test_the_next_one_is_made_when_one_was_claimed(kept: Kept) -> None:
    kept.keep()
    process = kept.claim()
    assert process is not None
    wait_until(lambda: kept.waiting() not in ([], [process.pid]), "another spare")
    process.stop()


def test_two_that_claim_at_once_get_two_servers(kept: Kept) -> None:
    kept.keep(2)
    spares = set(kept.waiting())
    claimed: list[ServerProcess | None] = []
    threads = [threading.Thread(target=lambda: claimed.append(kept.claim())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    got = [process for process in claimed if process is not None]
    assert len({process.pid for process in got}) == len(got) >= 2
    assert spares <= {process.pid for process in got}
    for process in got:
        process.stop()


def test_the_locale_that_python_makes_up_makes_no_difference(kept: Kept) -> None:
    """Python sets LC_CTYPE where there is no locale, but not when it is isolated; one that was chosen counts."""
    plain = standby.key_of(replace(kept.options, environment={"LC_CTYPE": "C.UTF-8"}), JAVA)
    assert plain == standby.key_of(replace(kept.options, environment={"LC_CTYPE": "UTF-8"}), JAVA)
    assert plain != standby.key_of(replace(kept.options, environment={"LC_CTYPE": "de_DE.UTF-8"}), JAVA)


@pytest.mark.parametrize(
    "changes", [{"heap": "2g"}, {"jvm_args": ("-Xss2m",)}, {"environment": {"PYTHONHASHSEED": "1"}}, {"port": 4712}]
)
def test_other_settings_get_no_spare(kept: Kept, changes: dict[str, Any]) -> None:
    kept.keep()
    assert kept.claim(**changes) is None
    assert len(kept.waiting()) == 1


def test_what_an_upgrade_has_made_stale_is_replaced(kept: Kept) -> None:
    kept.keep()
    former = kept.waiting()
    (kept.folder / "packages" / "new").mkdir()
    assert kept.claim() is None
    wait_until(lambda: kept.waiting() not in ([], former), "another spare")
    assert not is_alive(former[0])


def test_a_spare_that_died_is_not_handed_out(kept: Kept) -> None:
    kept.keep()
    former = kept.waiting()
    os.kill(former[0], signal.SIGKILL)
    wait_until(lambda: kept.waiting() not in ([], former), "another spare")


def test_a_spare_that_is_stopped_is_not_handed_out_but_replaced(kept: Kept) -> None:
    kept.keep()
    former = kept.waiting()
    os.kill(former[0], signal.SIGSTOP)
    wait_until(lambda: workdir.state(former[0]) == "T", "the stop")
    process = kept.keeper._take(standby.key_of(kept.options, JAVA))
    if process is not None:  # the next one, already
        process.kill()
        assert process.pid != former[0]
    wait_until(lambda: kept.waiting() not in ([], former), "another spare")
    assert not is_alive(former[0])


@pytest.mark.parametrize("takes_spare", [True, False])
def test_every_launch_takes_one_that_waits_unless_it_declines(kept: Kept, takes_spare: bool) -> None:
    """Also without the setting: a spare may have been made by hand."""
    kept.keep()
    spare = kept.waiting()[0]
    process = ServerProcess.start(replace(kept.options, standby=0, takes_spare=takes_spare))
    assert (process.from_standby, process.pid == spare) == (takes_spare, takes_spare)
    process.wait_ready()
    process.stop()


def test_a_spare_is_not_made_of_another(kept: Kept) -> None:
    kept.keep()
    process = ServerProcess.start(replace(kept.options, spare=True))
    assert not process.from_standby
    process.wait_ready()
    process.stop()


def test_one_that_cannot_become_ours_is_ended_and_another_launched(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.keep()
    spare = kept.waiting()[0]
    monkeypatch.setenv("FAKE_REFUSES", "1")
    process = ServerProcess.start(kept.options)
    assert not process.from_standby
    wait_until(lambda: not is_alive(spare), "the spare's end")
    process.wait_ready()
    process.stop()


@pytest.mark.parametrize("after", ["claim", "fds"])
def test_a_kernel_that_is_killed_while_it_claims_takes_the_server_with_it(kept: Kept, after: str) -> None:
    kept.keep()
    spare = kept.waiting()[0]
    connection = standby.connect(kept.path)
    assert connection is not None
    standby.send(connection, {"op": "claim", "key": standby.key_of(kept.options, JAVA)})
    if after == "fds":
        _, fds, _, _ = socket.recv_fds(connection, 1 << 16, 4)
        for fd in fds:
            os.close(fd)
    connection.close()
    wait_until(lambda: not is_alive(spare), "the spare's end")


def test_a_keeper_that_ends_within_a_message_is_as_none() -> None:
    mine, its = socket.socketpair()
    with mine, its:
        its.sendall(b'{"spare": {"pid":')
        its.shutdown(socket.SHUT_WR)
        errors: list[Exception] = []

        def claim() -> None:
            try:
                standby._claim(mine, "key")
            except ValueError as error:
                errors.append(error)

        thread = threading.Thread(target=claim, daemon=True)
        thread.start()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
        assert [str(error) for error in errors] == ["no spare"]


def test_a_kernel_that_is_killed_takes_its_server_with_it(kept: Kept) -> None:
    kept.keep()
    spare = kept.waiting()[0]
    script = (
        "import sys; from dh_kernel.server import *\n"
        f"options = LaunchOptions(**{ {**asdict(kept.options), 'environment': {}}!r})\n"
        "process = ServerProcess._claimed(options, Java('/nowhere', 17, True))\n"
        "print(process.pid, process._workdir, flush=True)\n"
        "sys.stdin.read()"
    )
    # Not from the checkout's folder: a spare is for kernels of the very same code.
    kernel = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=kept.folder
    )
    assert kernel.stdout is not None
    pid, folder = kernel.stdout.readline().split()
    assert int(pid) == spare
    kernel.kill()
    kernel.communicate()
    wait_until(lambda: not is_alive(spare) and not os.path.exists(folder), "the server's end")


def test_spares_end_after_the_idle_time_and_the_keeper_with_them(kept: Kept) -> None:
    kept.keep(standby_idle_s=1.0)
    spare = kept.waiting()[0]
    kept.thread.join(TIMEOUT_S)
    assert not kept.thread.is_alive()
    assert not is_alive(spare)


def test_spares_end_when_the_folder_is_gone(kept: Kept) -> None:
    kept.keep()
    spare = kept.waiting()[0]
    os.remove(kept.path)
    kept.thread.join(TIMEOUT_S)
    assert not is_alive(spare)


def test_a_stop_leaves_the_servers_in_use(kept: Kept) -> None:
    kept.keep()
    process = kept.claim()
    assert process is not None
    wait_until(lambda: kept.waiting(), "another spare")
    spare = kept.waiting()[0]
    assert (standby.ask(kept.path, {"op": "stop"}) or {}) == {"ok": True, "claimed": 1}
    assert not is_alive(spare)
    assert process.death is None
    os.kill(process.pid, signal.SIGKILL)
    assert ended(process).signal == signal.SIGKILL


def test_a_keeper_that_is_killed_takes_its_spare_but_no_server_in_use(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.keeper.stop()
    kept.thread.join(TIMEOUT_S)
    os.remove(kept.path)
    # A keeper of its own, which runs no cell on these servers.
    script = (
        "import sys; from dh_kernel.server import keeper; keeper.warm_by_cell = lambda process: None; keeper.QUIET_S = 0.0\n"
        f"import dh_kernel.server.process as process; from dh_kernel.server import Java\n"
        "process.find_java = lambda *_, **__: Java('/nowhere', 17, True)\n"
        f"sys.argv[:] = ['', {kept.path!r}]; keeper.main()"
    )
    own = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert own.stdout is not None
    with own.stdout as pipe:
        pipe.read()
    kept.keep()
    process = kept.claim()
    assert process is not None
    wait_until(lambda: kept.waiting() not in ([], [process.pid]), "another spare")
    spare = kept.waiting()[0]
    own.kill()
    own.wait()
    assert os.path.exists(kept.path)
    standby.tidy(kept.path)
    assert not os.path.exists(kept.path)
    wait_until(lambda: not is_alive(spare) and len(list(kept.folder.glob("dh-kernel-*"))) == 1, "the spare's end")
    assert process.death is None
    assert workdir.sweep(str(kept.folder)) == [], "the folder belongs to this process now"
    os.kill(process.pid, signal.SIGKILL)
    death = ended(process)
    assert (death.exit_code, death.signal) == (None, None)
    assert not os.path.exists(process._workdir)


def test_a_second_keeper_leaves_the_first_alone(kept: Kept) -> None:
    for file in (kept.path, kept.path + ".lock"):
        with contextlib.suppress(OSError):
            os.remove(file)
    command = [sys.executable, "-c", "import sys; from dh_kernel.server.keeper import main; main()", kept.path]
    first = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert first.stdout is not None
    with first.stdout as pipe:
        pipe.read()
    subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT_S)
    assert standby.ask(kept.path, {"op": "status"}) is not None
    assert os.stat(kept.path).st_mode & 0o077 == 0
    standby.tidy(kept.path)
    assert os.path.exists(kept.path)
    first.terminate()
    assert first.wait(TIMEOUT_S) == 0
    assert not os.path.exists(kept.path)
    kept.keeper.stop()


@pytest.fixture
def by_hand(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> Kept:
    """The commands' settings lead to this keeper's servers."""
    for name in [name for name in os.environ if name.startswith("DH_KERNEL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("dh_kernel.launching.find_java", lambda *_: JAVA)
    monkeypatch.setenv("DH_KERNEL_PYTHON", str(kept.python))
    return kept


def test_a_start_by_hand_after_a_repair_tells_of_the_next_attempt(by_hand: Kept, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand.python.write_text("#!/bin/sh\necho broken >&2; exit 3\n")
    with pytest.raises(SystemExit) as end:
        main(["standby", "start"])
    assert end.value.code == 1
    assert "broken" in capsys.readouterr().out
    by_hand.python.write_text(FAKE)
    assert main(["standby", "start"]) == 0
    assert capsys.readouterr().out.startswith("1 waiting")


def test_a_start_by_hand_installs_the_version_first(
    by_hand: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def provide(environment: Environment, progress: Callable[[str], None]) -> str:
        progress("halfway")
        os.makedirs(os.path.dirname(environment.python))
        os.symlink(by_hand.python, environment.python)
        return environment.python

    monkeypatch.setenv("DH_KERNEL_DEEPHAVEN_VERSION", "41.11")
    monkeypatch.setattr("dh_kernel.versions.folder", lambda: str(by_hand.folder / "environments"))
    monkeypatch.setattr("dh_kernel.versions.provide", provide)
    assert main(["standby", "start"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("1 waiting")
    assert told.err.splitlines() == ["installing Deephaven 41.11, which is done once", "halfway"]


def test_a_start_by_hand_that_takes_too_long_is_an_error(
    by_hand: Kept, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    go_on = threading.Event()
    by_hand.keeper._warm = lambda process: assert_within(go_on)
    monkeypatch.setattr("dh_kernel.standby._READY_WITHIN_S", 1.0)
    try:
        with pytest.raises(SystemExit) as end:
            main(["standby", "start"])
    finally:
        go_on.set()
    assert end.value.code == 1
    told = capsys.readouterr().out
    assert told.startswith("0 waiting, 1 being made")
    assert "not ready within 1 s. One is still being made" in told


def test_one_of_former_settings_does_not_count_as_waiting(kept: Kept) -> None:
    """The maker may be busy with another for minutes before it ends that one."""
    kept.keep()
    go_on = threading.Event()
    kept.keeper._warm = lambda process: assert_within(go_on)
    try:
        assert standby.keep(replace(kept.options, standby=2), JAVA)
        wait_until(lambda: kept.status()["making"], "another")
        assert len(kept.waiting()) == 1
        assert standby.keep(replace(kept.options, heap="2g"), JAVA)
        assert kept.waiting() == []
    finally:
        go_on.set()
    wait_until(kept.waiting, "one with the other heap")


def test_a_folder_that_others_may_enter_is_not_used(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(short_path))
    monkeypatch.setenv("TMPDIR", str(short_path))
    for name in ("dh-kernel", f"dh-kernel-standby-{os.getuid()}"):
        (short_path / name).mkdir()
        (short_path / name).chmod(0o755)
    found = standby.find_folder(make=True)
    assert found is None or not found.startswith(str(short_path))


def test_where_no_runtime_folder_is_set_there_is_one_in_the_temporary_folder(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(short_path))
    folder = standby.find_folder(make=True)
    assert folder == str(short_path / f"dh-kernel-standby-{os.getuid()}")
    assert os.stat(folder).st_mode & 0o777 == 0o700


def test_a_relative_search_path_asks_for_the_same_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = LaunchOptions(heap="1g")
    here = standby.key_of(options, JAVA)
    monkeypatch.chdir(tmp_path)
    assert standby.key_of(options, JAVA) == here
    monkeypatch.setenv("PYTHONPATH", "src")
    relative = standby.key_of(options, JAVA)
    monkeypatch.chdir("/")
    assert standby.key_of(options, JAVA) != relative
