"""`dh-kernel run` on a server that runs already: forms, output, JSON, exit codes. The real program, without a terminal."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from batching import Runs, end, read_until
from harness import Kernel, Vanilla

TABLE = "from deephaven import empty_table\nt = empty_table(100).update(['X = i', 'Y = i * 0.5'])\n"


def test_streams_tables_and_result_stand_where_they_belong(attached: Runs) -> None:
    code = TABLE + "import sys\nprint('out')\nprint('careful', file=sys.stderr)\n6 * 7\n"
    done = attached("--rows", "2", "-c", code)
    assert done.code == 0, done.errors
    assert done.errors == "careful\n"
    lines = done.text.splitlines()
    assert lines[:2] == ["out", "=== Table: t (100 rows, static) ==="]
    assert lines[2].split() == ["X", "Y"]
    assert lines[3].split() == ["int", "double"]
    assert lines[-1] == "42"


def test_json_tells_all_of_a_run(attached: Runs, vanilla: Vanilla) -> None:
    attached.script("make.py", TABLE + "import sys\nprint('made', t.size)\nprint('hm', file=sys.stderr)\nt.where('X > 97')\n")
    whole = attached("--json", "make.py", "--then", "-c", "print(t.size); 'last'").json
    assert whole["status"] == "ok"
    assert whole["stdout"] == "made 100\n100\n"
    assert whole["stderr"] == "hm\n"
    assert whole["error"] is None
    assert whole["result"] == {"text/plain": "'last'"}
    assigned, result = whole["tables"]
    assert (assigned["name"], assigned["row_count"], assigned["is_refreshing"]) == ("t", 100, False)
    assert assigned["columns"] == [{"name": "X", "type": "int"}, {"name": "Y", "type": "double"}]
    assert assigned["rows"][0] == {"X": 0, "Y": 0.0}
    assert [row["X"] for row in result["rows"]] == [98, 99]
    assert [(item["kind"], item["name"], item["status"]) for item in whole["items"]] == [
        ("script", "make.py", "ok"),
        ("code", "-c", "ok"),
    ]
    assert (whole["server"]["host"], whole["server"]["port"]) == (vanilla.host, vanilla.port)
    assert whole["server"]["version"]
    assert 0 < whole["timings"]["start_s"] <= whole["timings"]["total_s"]
    assert vanilla.key not in json.dumps(whole)


def test_json_has_large_previews_and_live_results(attached: Runs) -> None:
    code = (
        "from deephaven import empty_table, time_table\n"
        "a = empty_table(1000).update([f'C{k}=i' for k in range(10)])\nb = a.where('C0 >= 0')\ntime_table('PT1s')\n"
    )
    whole = attached("--json", "--rows", "1000", "-c", code).json
    assert [(table["name"], len(table["rows"])) for table in whole["tables"][:2]] == [("a", 1000), ("b", 1000)]
    assert whole["tables"][2]["is_refreshing"]
    assert whole["result"] == {"text/plain": whole["tables"][2]["preview"]}
    assert "\nlive" not in whole["tables"][2]["preview"]
    assert whole["displays"] == []


def test_json_lines_come_as_things_happen(attached: Runs) -> None:
    process = attached.begin("--json-lines", "-", stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write((TABLE + "print('one', flush=True)\nwait = input()\nprint('never')\n").encode())
        process.stdin.close()
        first = read_until(process.stdout.fileno(), b'"one')
        rest = process.stdout.read()
    finally:
        end(process)
    events = [json.loads(line) for line in (first + rest).splitlines()]
    assert [event["event"] for event in events] == ["status", "cell", "stream", "error", "cell", "status"]
    assert events[0]["status"] == "ready"
    assert events[2]["text"] == "one\n"
    assert events[-1]["exit_code"] == 1  # the code came by stdin, so nobody can answer, and that is said
    assert events[-1]["error"]["name"] == "StdinNotImplementedError"


def test_an_error_is_told_on_stderr_as_python_does(attached: Runs) -> None:
    script = attached.script("bad.py", "def f(x):\n    return 1 / x\n\nprint('before')\nf(0)\nprint('after')\n")
    done = attached("bad.py", "--then", "-c", "print('never')")
    assert done.code == 1
    assert done.text == "before\n"
    assert done.errors == attached.python(str(script)).errors.replace("\x1b", "")


def test_exit_codes_of_sys_exit(attached: Runs) -> None:
    process = attached("--json", "-c", "import sys\nprint('so far')\nsys.exit(7)")
    assert (process.code, process.json["status"], process.json["stdout"]) == (7, "exit", "so far\n")
    done = attached("-c", "import sys\nsys.exit('no such day')")
    assert (done.code, done.text, done.errors) == (1, "", "no such day\n")
    done = attached("-c", "import sys\nsys.exit()", "--then", "-c", "print('went on')")
    assert (done.code, done.text) == (0, "went on\n")


def test_two_runs_share_no_names_unless_they_ask(attached: Runs) -> None:
    name = f"shared_{os.getpid()}"
    assert attached("--shared-names", "-c", f"{name} = 2").code == 0
    assert "NameError" in attached("-c", f"{name}").errors
    assert attached("--shared-names", "-c", f"print({name})\ndel {name}").text == "2\n"


def test_formulas_find_a_runs_own_names(attached: Runs) -> None:
    code = (
        "from deephaven import empty_table\nfactor = 3\ndef twice(x) -> int:\n    print('x is', x)\n    return 2 * x\n"
        "t = empty_table(3).update(['X = i * factor', 'Y = twice(i)'])\n"
    )
    found = attached("--json", "-c", code).json
    assert [row["Y"] for row in found["tables"][0]["rows"]] == [0, 2, 4]
    assert "x is 2\n" in found["stdout"]


def test_parameters_come_before_a_script(attached: Runs) -> None:
    (attached.folder / "p.yaml").write_text("day: 2024-01-02\nlimits: {low: 1, high: [2, null, true]}\nn: 1\n")
    done = attached("-f", "p.yaml", "-p", "n=5", "-p", "name=Ada", "-c", "print(day, limits, n + 1, name)")
    assert done.text == "2024-01-02 {'low': 1, 'high': [2, None, True]} 6 Ada\n"


@pytest.mark.long
def test_no_table_options(attached: Runs) -> None:
    done = attached("--no-show-tables", "--no-table-meta", "-c", TABLE + "t.where('X = 5')")
    assert "===" not in done.text
    assert done.text.split()[:4] == ["X", "Y", "int", "double"]
    assert done.text.split()[5:] in (["5", "2.5"], ["---", "5", "2.5"], ["------", "5", "2.5"]), done.text


@pytest.mark.long
def test_a_slow_reader_loses_no_byte_and_memory_stays_bounded(attached: Runs) -> None:
    """64 MB through a pipe that is not read at first, bytes that are no text among them."""
    code = (
        "import sys\nchunk = bytes(range(256)) * 4096\nfor n in range(64):\n    sys.stdout.buffer.write(chunk)\n"
        "    sys.stdout.buffer.write(b'%d\\n' % n)\n"
    )
    process = attached.begin("-c", code)
    try:
        assert process.stdout is not None
        first = os.read(process.stdout.fileno(), 1)
        time.sleep(2)  # long enough for all of it to arrive, were it not held back
        status = Path(f"/proc/{process.pid}/status").read_text()
        resident_kb = int(status.split("VmRSS:")[1].split()[0])
        digest = hashlib.sha256(first)
        while more := process.stdout.read(1 << 20):
            digest.update(more)
        assert process.wait(60) == 0
    finally:
        end(process)
    wanted = hashlib.sha256()
    for n in range(64):
        wanted.update(bytes(range(256)) * 4096 + b"%d\n" % n)
    assert digest.hexdigest() == wanted.hexdigest()
    assert resident_kb < 180_000


def test_a_reader_that_goes_away_ends_the_run(attached: Runs) -> None:
    process = attached.begin("-c", "while True:\n    print('x' * 1000)")
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        os.read(process.stdout.fileno(), 1000)
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr.read() == b""
    finally:
        end(process)


@pytest.mark.long
def test_questions_are_answered_from_stdin(attached: Runs) -> None:
    done = attached("-c", "name = input('name? ')\nprint('hello', name)\ninput()", stdin=b"Ada\n")
    assert done.text == "name? hello Ada\n"
    assert done.code == 1
    assert done.errors.endswith("EOFError\n")


READS = """\
import hashlib, sys
print(repr(sys.stdin.readline()), repr(input()))
lines = [next(sys.stdin) for _ in range(2)]
print(lines)
rest = sys.stdin.read().encode(errors="surrogateescape")
print(len(rest), hashlib.sha256(rest).hexdigest(), repr(sys.stdin.buffer.read()))
print(sum(1 for _ in sys.stdin))
"""


def test_a_script_reads_standard_input(attached: Runs) -> None:
    """As lines, as text and as bytes, with `input()` between, up to its end; more than one piece of it."""
    script = attached.script("reads.py", READS)
    rest = bytes(range(14, 256)) * 20_000
    done = attached(str(script), stdin=b"one\ntwo\nthree\nfour \xff\n" + rest)
    assert done.code == 0, done.errors
    first, second, third, last = done.text.splitlines()
    assert first == "'one\\n' 'two'"
    assert second == "['three\\n', 'four \\udcff\\n']"
    assert third == f"{len(rest)} {hashlib.sha256(rest).hexdigest()} b''"
    assert last == "0"


def test_no_server_is_exit_code_two(attached: Runs) -> None:
    runs = Runs(attached.folder, attached.environ, ("--host", "127.0.0.1", "--port", "1"))
    done = runs("--json", "-c", "print(1)")
    assert done.code == 2
    assert (done.json["status"], done.json["error"]["name"]) == ("error", "ConnectError")
    wrong = attached.script("wrong-key", "wrong")
    where = (*attached.where[:-1], str(wrong))
    done = Runs(attached.folder, attached.environ, where)("-c", "print(1)")
    assert done.code == 2
    assert "does not accept the credentials" in done.errors


def test_the_time_limit_keeps_what_came_before(attached: Runs) -> None:
    begun = time.monotonic()
    done = attached("--json", "--cell-timeout", "2", "--grace", "3", "-c", "print('begun')\nimport time\ntime.sleep(600)")
    assert done.code == 3
    assert (done.json["status"], done.json["stdout"]) == ("timeout", "begun\n")
    assert "2 s (--cell-timeout)" in done.json["error"]["value"]
    assert time.monotonic() - begun < 60


def test_a_kernel_that_runs_already_is_used_and_goes_on(attached: Runs, attached_kernel: Kernel) -> None:
    file = attached_kernel.manager.connection_file
    attached_kernel.ok("known = 'of the kernel'")
    runs = Runs(attached.folder, attached.environ, ("--existing", file))
    done = runs("-c", "print(known)\nfresh = 'of the run'")
    assert (done.code, done.text) == (0, "of the kernel\n"), done.errors
    assert attached_kernel.ok("fresh").result == {"text/plain": "'of the run'"}
    assert Runs(attached.folder, attached.environ, ("--existing", "none.json"))("-c", "1").code == 2


def test_the_limit_counts_from_the_start(attached: Runs) -> None:
    done = attached("--json", "--timeout", "0.2", "-c", "print('never')")
    assert done.code == 3
    assert (done.json["status"], done.json["stdout"], done.json["timings"]["start_s"]) == ("timeout", "", None)
    assert done.json["timings"]["total_s"] < 1.2


def test_an_interrupt_is_exit_code_130(attached: Runs) -> None:
    code = "import time\nprint('on', flush=True)\ntry:\n    time.sleep(600)\nfinally:\n    print('tidied up')\n"
    process = attached.begin("-c", code)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        read_until(process.stdout.fileno(), b"on\n")
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == b"tidied up\n"
        assert process.stderr.read().endswith(b"KeyboardInterrupt\n")
        assert process.wait(30) == 130
    finally:
        end(process)


@pytest.mark.long
@pytest.mark.parametrize("code", ["input()", "import sys\nsys.stdin.buffer.read(10)", "import getpass\ngetpass.getpass()"])
def test_a_limit_while_the_code_reads_is_exit_code_three(attached: Runs, code: str) -> None:
    """Its thread still waits for the standard input then."""
    process = attached.begin("--json", "--cell-timeout", "1", "-c", code, stdin=subprocess.PIPE)
    try:
        assert process.wait(60) == 3
        assert process.stderr is not None
        assert b"Fatal" not in process.stderr.read()
    finally:
        end(process)


@pytest.mark.long
def test_nothing_runs_after_a_limit_that_the_code_survives(attached: Runs) -> None:
    code = "import time\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    print('caught')"
    done = attached("--json", "--cell-timeout", "1", "-c", code, "--then", "-c", "print('never')")
    assert (done.code, done.json["stdout"], len(done.json["items"])) == (3, "caught\n", 1)
