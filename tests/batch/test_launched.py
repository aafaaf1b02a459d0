"""`dh-kernel run` with a server of its own: what makes a run like `python script.py`, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from batching import PROGRAM, TIMEOUT_S, Done, Runs, bare_environ, end, notebook, printed, read_until
from harness import HEAP, descendants, is_gone, wait_until
from pydeephaven import Session

LIKE_PYTHON = """\
import os, subprocess, sys, threading, time
import beside
print(sys.argv, __name__, __file__ == os.path.abspath(sys.argv[0]), sys.path[0] == os.path.dirname(__file__), os.getcwd())
print(beside.NAME, open("data.txt").read(), os.environ["GIVEN"])
sys.stdout.flush()
sys.stdout.buffer.write(b"bytes \\xff\\xfe, and half a letter \\xc3")
sys.stdout.buffer.write(b"\\xa9\\n")
sys.stdout.buffer.flush()
os.write(1, b"\\xffwritten\\n")
subprocess.run(["printf", "a child \\\\377\\\\n"])
subprocess.run("echo a child complains >&2", shell=True)
class Kept:
    pass
print(Kept.__module__, file=sys.stderr)
def later():
    time.sleep(0.5)
    print("a thread, after the end")
threading.Thread(target=later).start()
if __name__ == "__main__":
    raise SystemExit(3)
"""


@pytest.mark.long
def test_a_script_runs_as_python_runs_it(launched: Runs) -> None:
    """With hardly any environment, and a home directory that cannot be, as cron may start it."""
    (launched.folder / "sub").mkdir()
    launched.script("sub/like.py", LIKE_PYTHON)
    launched.script("sub/beside.py", "NAME = 'a module beside it'\n")
    launched.script("sub/json.py", "raise RuntimeError('a module of the user must not reach the kernel')\n")
    launched.script("json.py", "raise RuntimeError('nor one of the working directory')\n")
    launched.script("data.txt", "relative paths")
    environ = {**bare_environ(launched.environ), "HOME": "/proc/1/nowhere", "TMPDIR": str(launched.folder)}
    bare = Runs(launched.folder, environ, ("--heap", HEAP))
    wanted = subprocess.run(
        [sys.executable, "sub/like.py", "a", "--json"],
        capture_output=True,
        cwd=launched.folder,
        env={**environ, "GIVEN": "given"},
        check=False,
    )
    done = bare("--env", "GIVEN=given", "sub/like.py", "a", "--json")
    assert done.out == wanted.stdout
    assert done.err == wanted.stderr
    assert done.code == wanted.returncode == 3


@pytest.mark.long
def test_it_needs_no_environment_no_terminal_and_no_home(launched: Runs, tmp_path: Path) -> None:
    """As cron starts it; where nothing can be written below the home directory, not even by root."""
    environ = {**bare_environ(launched.environ), "HOME": "/proc/1/nowhere", "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    given = [f"{name}={value}" for name, value in environ.items()]
    code = "from deephaven import empty_table\nt = empty_table(3)\nprint(t.size)"
    done = subprocess.run(
        ["env", "-i", *given, PROGRAM, "run", "--heap", "1g", "--json", "-c", code],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        cwd=tmp_path,
        check=False,
        start_new_session=True,
    )
    assert (done.returncode, done.stderr) == (0, b""), done
    assert b'"stdout": "3\\n"' in done.stdout
    wait_until(lambda: not list((tmp_path / "tmp").glob("dh-*")), "all that it made is removed")


STUBBORN = """\
import os, signal, subprocess, time
child = subprocess.Popen(["sleep", "1000"])
if os.fork() == 0:
    time.sleep(1000)
signal.signal(signal.SIGINT, signal.SIG_IGN)
print(child.pid, flush=True)
while True:
    try:
        time.sleep(1000)
    except BaseException:
        pass
"""


@pytest.mark.long
def test_the_time_limit_ends_what_will_not_end(launched: Runs) -> None:
    """SIGINT is ignored, every exception caught, children are there: all of it is gone, in time."""
    launched.script("stubborn.py", STUBBORN)
    process = launched.begin("--json-lines", "--cell-timeout", "4", "--grace", "2", "stubborn.py")
    try:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b'"running"')
        begun = time.monotonic()
        read_until(process.stdout.fileno(), b'"stream"')
        children = descendants(process.pid)
        out = process.stdout.read()
        assert process.wait(30) == 3
        took_s = time.monotonic() - begun
    finally:
        end(process)
    ended, over = [json.loads(line) for line in out.splitlines()][-2:]  # and nothing behind
    assert (ended["event"], ended["status"], over["status"]) == ("cell", "timeout", "timeout")
    assert b"KernelDied" not in out
    assert took_s < 4 + 2 + 1
    wait_until(lambda: all(map(is_gone, children)), "nothing is left behind")


@pytest.mark.long
def test_a_server_that_dies_is_exit_code_four(launched: Runs) -> None:
    done = launched("--json", "-c", "import os, time\nprint('last words', flush=True)\ntime.sleep(1)\nos._exit(5)")
    assert done.code == 4
    assert (done.json["status"], done.json["stdout"]) == ("died", "last words\n")
    assert "exit code 5" in done.json["error"]["value"]
    assert "%dh" not in done.json["error"]["value"], "advice for a next cell, of which there is none"


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_signals_end_it_cleanly(launched: Runs, number: int, code: int) -> None:
    """The script's `finally` runs, and nothing is left behind."""
    launched.script(
        "busy.py", "import time\nprint('on', flush=True)\ntry:\n    time.sleep(600)\nfinally:\n    print('tidied up')\n"
    )
    process = launched.begin("busy.py")
    try:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"on\n")
        children = descendants(process.pid)
        process.send_signal(number)
        assert process.stdout.read() == b"tidied up\n"
        assert process.wait(30) == code
    finally:
        end(process)
    wait_until(lambda: all(map(is_gone, children)), "nothing is left behind")


@pytest.mark.long
def test_a_second_interrupt_kills(launched: Runs) -> None:
    launched.script("stubborn.py", STUBBORN)
    process = launched.begin("stubborn.py")
    try:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"\n")
        children = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert time.monotonic() - begun < 3
    finally:
        end(process)
    wait_until(lambda: all(map(is_gone, children)), "nothing is left behind")


@pytest.mark.long
def test_a_run_that_is_killed_leaves_nothing_behind(launched: Runs) -> None:
    process = launched.begin("-c", "print('on', flush=True)\nimport time\ntime.sleep(600)")
    try:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b"on\n")
        children = descendants(process.pid)
        process.kill()
        process.wait(30)
    finally:
        end(process)
    wait_until(lambda: all(map(is_gone, children)), "kernel and server end")


@pytest.mark.long
def test_serve_keeps_the_server_alive_until_sigint(launched: Runs) -> None:
    launched.script("dash.py", "from deephaven import time_table\nlive = time_table('PT1s')\nprint('made')\n")
    command = [PROGRAM, "serve", "--show-key", "--no-show-tables", "dash.py"]
    process = subprocess.Popen(
        command, cwd=launched.folder, env=dict(launched.environ), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"made\n"
        address, _, key = process.stdout.readline().decode().strip().partition("/ide/?psk=")
        host, port = address.removeprefix("http://").split(":")
        children = descendants(process.pid)
        session = Session(
            host, int(port), auth_type="io.deephaven.authentication.psk.PskAuthenticationHandler", auth_token=key
        )
        assert "live" in session.tables
        session.close()
        with urllib.request.urlopen(f"{address}/ide/?psk={key}", timeout=30) as page:
            assert page.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        end(process)
    wait_until(lambda: all(map(is_gone, children)), "nothing is left behind")


@pytest.mark.long
def test_two_hundred_megabytes_arrive_whole(launched: Runs) -> None:
    """By lines, from the script and from a child of it, through a pipe whose reader is slow."""
    launched.script(
        "pour.py",
        "import subprocess, sys\n"
        "for n in range(1_000_000):\n    print(f'{n:099d}')\n"
        "sys.stdout.flush()\n"
        "done = subprocess.run(['head', '-c', '100000000', '/dev/zero'])\n",
    )
    process = launched.begin("pour.py")
    try:
        assert process.stdout is not None
        read, digest, largest_kb = 0, hashlib.sha256(), 0
        while more := process.stdout.read(1 << 20):
            digest.update(more)
            read += len(more)
            time.sleep(0.01)
            status = Path(f"/proc/{process.pid}/status").read_text()
            if "VmRSS:" in status:
                largest_kb = max(largest_kb, int(status.split("VmRSS:")[1].split()[0]))
        assert process.wait(60) == 0
    finally:
        end(process)
    assert read == 200_000_000
    wanted = hashlib.sha256()
    for n in range(1_000_000):
        wanted.update(f"{n:099d}\n".encode())
    wanted.update(bytes(100_000_000))
    assert digest.hexdigest() == wanted.hexdigest()
    assert largest_kb < 180_000


@pytest.mark.long
def test_a_kernel_that_dies_is_exit_code_four(launched: Runs) -> None:
    process = launched.begin("--json-lines", "-c", "print('on', flush=True)\nimport time\ntime.sleep(600)")
    try:
        assert process.stdout is not None
        read_until(process.stdout.fileno(), b'"stream"')
        children = descendants(process.pid)
        os.kill(children[0], signal.SIGKILL)
        last = process.stdout.read().splitlines()[-1]
        assert process.wait(30) == 4
        assert b'"died"' in last
    finally:
        end(process)
    wait_until(lambda: all(map(is_gone, children)), "nothing is left behind")


@pytest.mark.long
def test_another_kernel_by_the_options_of_jupyter_run(launched: Runs) -> None:
    """`--kernel` is Jupyter's; a kernel that knows nothing of Deephaven runs code all the same."""
    done = launched("--kernel", "python3", "--RunApp.kernel_timeout=60", "-c", "import sys\nprint('plain')\n6 * 7")
    assert (done.code, done.text) == (0, "plain\n42\n"), done.errors
    assert launched("--kernel", "nothing-of-this-name", "-c", "1").code == 2


@pytest.mark.long
@pytest.mark.parametrize("dies", ["server", "kernel"])
def test_serve_ends_when_what_it_serves_has_died(launched: Runs, dies: str) -> None:
    process = subprocess.Popen(
        [PROGRAM, "serve", "-c", "import os\nprint(os.getpid())"],
        cwd=launched.folder,
        env=dict(launched.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        server = int(process.stdout.readline())
        assert process.stdout.readline().startswith(b"http://")
        children = descendants(process.pid)
        os.kill(server if dies == "server" else children[0], signal.SIGKILL)
        assert process.wait(30) == 4
        told = process.stderr.read().decode()
        assert ("SIGKILL" if dies == "server" else "KernelDied") in told, told
    finally:
        end(process)
    wait_until(lambda: all(map(is_gone, children)), "nothing is left behind")


FORKS = """\
import os, sys, threading, time
def ended(pid):
    print("ended with", os.waitpid(pid, 0)[1] >> 8)
print("parent")
pid = os.fork()
if pid == 0:
    print("child")
    sys.exit(0)
ended(pid)
pid = os.fork()
if pid == 0:
    kept = open("left.txt", "w")
    kept.write("not closed")
    raise ValueError("of the child")
ended(pid)
print(open("left.txt").read())
pid = os.fork()
if pid == 0:
    sys.exit("a text")
ended(pid)
pid = os.fork()
if pid:
    ended(pid)
def first():
    threading.Thread(target=second).start()
def second():
    time.sleep(0.3)
    print("started by a thread")
if pid:
    threading.Thread(target=first).start()
else:
    print("a child at the script's end")
"""


@pytest.mark.long
def test_forked_children_and_threads_of_threads_end_as_under_python(launched: Runs) -> None:
    script = launched.script("forks.py", FORKS)
    wanted = launched.python("-u", str(script))
    done = launched("--no-show-tables", str(script))
    assert (done.text, done.code) == (wanted.text, 0), done.errors
    assert done.errors == wanted.errors


SURROUNDINGS = """\
'''What a program finds.'''
import asyncio, builtins, os, subprocess, sys
print(sorted(vars()), __doc__, __name__, __file__, __spec__, __cached__)
print(exit, quit, open is __import__("io").open)
print([name for name in ("get_ipython", "__IPYTHON__") if hasattr(builtins, name)])
print([name for name in ("ps1", "ps2", "ps3") if hasattr(sys, name)])
names = ("TERM", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PAGER", "GIT_PAGER", "MPLBACKEND")
print({name: os.environ.get(name) for name in names})
sys.stdout.flush()
subprocess.run("echo $TERM $FORCE_COLOR $PAGER", shell=True)

async def answer():
    await asyncio.sleep(0.01)
    return 42

try:
    asyncio.get_running_loop()
except RuntimeError as error:
    print(error)
print(asyncio.get_event_loop_policy().get_event_loop().run_until_complete(answer()))
print(asyncio.run(answer()))
loop = asyncio.new_event_loop()
print(loop.run_until_complete(answer()))
asyncio.set_event_loop(loop)
print(asyncio.get_event_loop() is loop)
loop.close()
if hasattr(asyncio, "Runner"):
    with asyncio.Runner() as runner:
        print(runner.run(answer()), runner.run(answer()))
import anyio
print(anyio.run(answer))

try:
    get_ipython()
except NameError as error:
    print(error)
import IPython
print(IPython.get_ipython())
IPython.display.display(3)
import tqdm.auto
print(tqdm.auto.tqdm.__module__)
exit(3)
print("never")
"""


@pytest.mark.long
def test_a_script_finds_what_python_gives_it_and_no_notebook(launched: Runs) -> None:
    """Also behind a notebook, whose names are there and whose shell is not; a notebook behind a script has it again."""
    script = launched.script("around.py", SURROUNDINGS)
    runs = Runs(launched.folder, {**launched.environ, "TERM": "dumb", "FORCE_COLOR": "0"})
    wanted = runs.python("-W", "ignore", str(script))
    assert wanted.code == 3, wanted.errors
    runs = Runs(launched.folder, {**launched.environ, "TERM": "dumb"})
    done = runs("--env", "FORCE_COLOR=0", str(script))
    assert (done.text, done.code) == (wanted.text, 3), done.errors
    cells = ["kept = 1 + 1\nkept", "import os\nprint(os.environ['TERM'], get_ipython().config is not None, _, Out[1], _i)"]
    notebook(launched.folder / "first.ipynb", cells)
    second = "print(os.environ['TERM'], get_ipython().config is not None, _, kept, Out[1], exit)\nasync def g():\n    return 5"
    notebook(launched.folder / "second.ipynb", [second, "await g()"])
    launched.script("between.py", "print([name for name in vars() if not name.startswith('__')])\n_ = 'own'")
    done = runs("first.ipynb", "--then", "between.py", "--then", "-c", "_", "--then", "second.ipynb")
    assert (done.code, done.text) == (0, "['kept', 'os']\n'own'\n"), done.errors
    outputs = printed(launched.folder / "first.out.ipynb")
    assert outputs == ["2", "xterm-color True 2 2 kept = 1 + 1\nkept\n"]
    outputs = printed(launched.folder / "second.out.ipynb")
    assert outputs[0].startswith("xterm-color True own 2 2 <")
    assert outputs[1:] == ["5"]


@pytest.mark.long
def test_a_script_that_ends_itself_shows_its_tables(launched: Runs) -> None:
    code = "import sys\nfrom deephaven import empty_table\nt = empty_table(2).update('X = i')\nsys.exit({})"
    done = launched("-c", code.format(0), "--then", "-c", code.format(4).replace("t =", "u ="))
    assert done.code == 4
    assert ("Table: t (2 rows" in done.text, "Table: u (2 rows" in done.text) == (True, True)


@pytest.mark.long
def test_a_script_may_replace_and_reconfigure_its_streams(launched: Runs) -> None:
    code = """\
import io, sys
sys.stdout.reconfigure(line_buffering=True)
print("\u00e9", sys.stdout.encoding, sys.stdout.line_buffering)
sys.stdout.reconfigure(encoding="latin-1")
print("\u00e9")
sys.stdout = io.TextIOWrapper(sys.stdout.detach(), encoding="utf-8")
print("of a wrapper of its own")
exit(int(sys.argv[1]))
"""
    script = str(launched.script("streams.py", code))
    wanted = launched.python(script, "0")
    done = launched(script, "0", "--then", "-c", "print('the next')")
    assert (done.out, done.errors, done.code) == (wanted.out + b"the next\n", "", 0)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_the_standard_input_is_also_that_of_programs_and_of_open(launched: Runs, kind: str) -> None:
    code = """\
import os, subprocess
print(subprocess.run(["head", "-c", "4"], capture_output=True).stdout)
print(os.read(0, 4))
print(open(0).read(), end="")
"""
    script = str(launched.script("stdin.py", code))
    data = launched.folder / "data.txt"
    data.write_bytes(b"one\ntwo\nthree\n")
    if kind == "pipe":
        done = launched(script, "--then", "-c", "print('the next')", stdin=data.read_bytes())
    else:
        with data.open("rb") as file:
            process = launched.begin(script, "--then", "-c", "print('the next')", stdin=file)
            out, err = process.communicate(timeout=TIMEOUT_S)
        done = Done(process.returncode, out, err)
    assert (done.text, done.code) == ("b'one\\n'\nb'two\\n'\nthree\nthe next\n", 0), done.errors
