"""Command lines of `run` and `serve`: what they order, and what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from batching import validate

from dh_kernel.batch.command import Order, decoded, order_of
from dh_kernel.batch.options import UsageError
from dh_kernel.batch.outcome import EXIT_CODES, Status, of_reply
from dh_kernel.batch.parameters import as_code, literal
from dh_kernel.cli import main


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DH_KERNEL_SERVER", raising=False)
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "b.py").write_text("print(2)\r\nx = '''\r\n'''\r\n", newline="")
    (tmp_path / "nb.ipynb").write_text("{}")


_ALWAYS = ("server", "private_names", "detached_time_s", "restart")


def order(*words: str, serves: bool = False) -> Order:
    return order_of(words, "dh-kernel run", serves=serves)


def test_words_behind_a_script_are_its_own() -> None:
    made = order("--json", "--timeout", "3", "a.py", "--json", "-c", "x", "--", "y")
    assert made.items[0].arguments == ("a.py", "--json", "-c", "x", "--", "y")
    assert (made.form, made.timeout_s) == ("json", 3.0)
    assert made.items[0].file == str(Path("a.py").resolve())


def test_code_takes_options_on_both_sides_and_arguments_behind_two_dashes() -> None:
    made = order("-q", "-c", "print(1)", "--json-lines", "--", "a", "--json")
    assert (made.items[0].code, made.items[0].arguments) == ("print(1)", ("-c", "a", "--json"))
    assert (made.form, made.quiet) == ("json-lines", True)
    assert order("-cprint(1)").items[0].code == "print(1)"


def test_options_may_stand_around_a_notebook() -> None:
    made = order("--inplace", "nb.ipynb", "--allow-errors", "-p", "n=1")
    assert (made.output, made.allow_errors, made.parameters) == ("", True, {"n": 1})


def test_several_in_order() -> None:
    made = order("a.py", "x", "--then", "-c", "y = 1", "--then", "b.py", "--json", "--then", "nb.ipynb")
    assert [(item.kind, item.name) for item in made.items] == [
        ("script", "a.py"),
        ("code", "-c"),
        ("script", "b.py"),
        ("notebook", "nb.ipynb"),
    ]
    assert made.items[2].arguments == ("b.py", "--json")
    assert made.items[2].code == "print(2)\nx = '''\n'''\n"  # as Python reads it
    assert order("a.py", "--", "--then").items[0].arguments == ("a.py", "--", "--then")


def test_the_standard_input_is_a_script_that_is_read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    made = order("-", "a")
    assert (made.items[0].kind, made.items[0].arguments) == ("stdin", ("-", "a"))
    assert decoded("# coding: latin-1\r\nx = 'é'\n".encode("latin-1"), "it") == "# coding: latin-1\nx = 'é'\n"
    with pytest.raises(UsageError, match="it is no Python source"):
        decoded(b"\xff", "it")


def test_options_of_jupyters_run_app_are_passed_on() -> None:
    made = order("--debug", "--kernel", "python3", "--RunApp.kernel_timeout=3", "--log-level=10", "a.py")
    assert made.jupyter == ("--debug", "--kernel", "python3", "--RunApp.kernel_timeout=3", "--log-level=10")
    assert made.items[0].name == "a.py"


def test_settings_become_arguments_of_the_kernel() -> None:
    made = order("--heap", "2g", "--jvm-args=-Xss2m -Da=b", "--rows", "3", "--no-show-tables", "--env", "A=b=c", "a.py")
    assert made.environ == {"A": "b=c"}
    assert made.settings == {
        "heap": ["2g"],
        "jvm_args": ["-Xss2m -Da=b"],
        "rows": ["3"],
        "private_names": ["1"],
        "detached_time_s": ["0"],
        "restart": ["never"],
        "show_tables": ["0"],
    }
    assert order("--port", "81", "a.py", serves=True).settings["port"] == ["81"]


@pytest.mark.parametrize(
    ("words", "server"),
    [
        ("--host db", "db:10000"),
        ("--host db --port 1", "db:1"),
        ("--host db:1", "db:1"),
        ("--host ::1", "[::1]:10000"),
        ("--host ::1 --port 1", "[::1]:1"),
        ("--host 2001:db8::1:1 --port 10000", "[2001:db8::1:1]:10000"),
        ("--host fe80::1%eth0", "[fe80::1%eth0]:10000"),
        ("--host [::1] --port 1", "[::1]:1"),
        ("--host [::1]:1", "[::1]:1"),
        ("--host dh+tls://[::1] --port 1", "dh+tls://[::1]:1"),
        ("--host dh+tls://db", "dh+tls://db:10000"),
        ("--host dh+tls://db:1", "dh+tls://db:1"),
        ("--host=db --port=1", "db:1"),
        ("--server dh+plain://db:1", "dh+plain://db:1"),
    ],
)
def test_where_a_server_runs(words: str, server: str) -> None:
    assert order(*words.split(), "a.py").settings["server"] == [server]


def test_how_to_speak_with_a_server() -> None:
    words = "--host db --tls --tls-ca-cert ca --tls-client-cert c --tls-client-key k --auth-type psk --auth-token-file t"
    made = order(*words.split(), "--header", "a=env:B", "--header", "x=text:1 2", "--channel-option", "grpc.a=1", "a.py")
    assert {name: texts for name, texts in made.settings.items() if name not in _ALWAYS} == {
        "tls": ["1"],
        "tls_ca_cert": ["ca"],
        "tls_client_cert": ["c"],
        "tls_client_key": ["k"],
        "auth_type": ["psk"],
        "key_file": ["t"],
        "headers": ["a=env:B", "'x=text:1 2'"],
        "channel_options": ["grpc.a=1"],
    }
    assert made.attached


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to run"),
        (["-c"], "-c wants a value"),
        (["-c", "x", "a.py"], "there is -c, and 'a.py' too"),
        (["-c", "x", "-"], "there is -c, and '-' too"),
        (["nb.ipynb", "a.py"], "a notebook takes no arguments"),
        (["nothing.py"], "there is no file nothing.py"),
        (["--nonsense", "a.py"], "there is no option --nonsense"),
        (["--tls-ca", "x", "a.py"], "there is no option --tls-ca, but --tls-ca-cert"),
        (["--host", "db", "--header", "x=s3cr3t", "a.py"], "--header: the value of the header x has to be file:PATH"),
        (["--host", "dh+tls://me:s3cr3t@db:1", "a.py"], "://db:1, without a path or a key"),
        (["--host", "db", "--tls-client-cert", "c", "a.py"], "--tls-client-cert needs DH_KERNEL_TLS_CLIENT_KEY too"),
        (["--host", "dh+plain://db", "--tls", "a.py"], "--tls is on, and the server's URL says"),
        (["--heap", "4 gigs", "a.py"], "--heap: '4 gigs' is not a size of memory"),
        (["--json", "--json-lines", "a.py"], "not allowed with"),
        (["--timeout", "-1", "a.py"], "not a number of seconds above 0"),
        (["--timeout", "soon", "a.py"], "invalid"),
        (["-p", "n", "a.py"], "wants NAME=VALUE"),
        (["-p", "a-b=1", "a.py"], "is no name for a parameter"),
        (["-f", "none.yaml", "a.py"], "cannot be read"),
        (["--env", "A", "a.py"], "--env wants NAME=VALUE"),
        (["--port", "1", "a.py"], "--port goes with --host"),
        (["--host", "db:1", "--port", "1", "a.py"], "--host has a port, and there is --port too"),
        (["--host", "db", "--port", "0", "a.py"], "the port 0 is not between 1 and 65535"),
        (["--host", "", "a.py"], "--host names no host"),
        (["--auth-type", "psk", "a.py"], "go with --host"),
        (["--host", "db", "--heap", "1g", "a.py"], "--heap is for a server that is launched"),
        (["--host", "db", "a.py", "argument"], "sys.argv belongs to the server's process"),
        (["--host", "db", "--existing", "k.json", "a.py"], "only one of them"),
        (["--output", "x", "a.py"], "are for a notebook"),
        (["--output", "x", "--inplace", "nb.ipynb"], "one of"),
        (["a.py", "--then"], "nothing to run"),
        (["a.py", "--then", "--json", "b.py"], "options stand before the first --then"),
    ],
)
def test_a_wrong_command_line_is_told_and_is_exit_code_64(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=says):
        order(*words)
    assert main(["run", *words]) == 64
    told = capsys.readouterr()
    assert re.search(says, told.err)
    assert told.out == ""


_NO_FOLDER = "import sys, tempfile\ntempfile.tempdir = '/dev/null/none'\nfrom dh_kernel.cli import main\nsys.exit(main())"
_PLAIN = "import sys\nfrom dh_kernel.cli import main\nsys.exit(main())"


@pytest.mark.parametrize(("program", "words", "code"), [(_PLAIN, ["--existing", "none.json"], 2), (_NO_FOLDER, [], 1)])
def test_a_run_that_cannot_begin_is_told_all_the_same(program: str, words: list[str], code: int, tmp_path: Path) -> None:
    """Without the kernel of `--existing`, and without a place for the run's folder."""
    command = [sys.executable, "-c", program, "run", "--json", *words, "-c", "1"]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, "JUPYTER_RUNTIME_DIR": str(tmp_path)})
    assert done.returncode == code, done.stderr
    whole = json.loads(done.stdout)
    validate(whole, "run")
    assert (whole["exit_code"], bool(whole["error"]["value"])) == (code, True)


def test_help_tells_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["run", "--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    for code, meaning in EXIT_CODES.items():
        assert f"{code:<4} {meaning}" in told


def test_parameters_from_files_and_options(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps({"a": [1, None, True, {"k": 0.5}], "b": "x"}))
    made = order("-f", "p.json", "-p", "b=2.5", "-p", "c=True", "-p", "d=text", "-p", "e=1=2", "a.py")
    assert made.parameters == {"a": [1, None, True, {"k": 0.5}], "b": 2.5, "c": True, "d": "text", "e": "1=2"}
    names: dict[str, Any] = {}
    exec(as_code(made.parameters), names)
    assert {name: names[name] for name in made.parameters} == made.parameters
    assert eval(literal(float("-inf"))) == float("-inf")


def test_parameters_of_yaml_are_plain_data_and_dates_stay_text(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(
        "day: 2024-01-02\nnever: 2024-02-30\nat: 2024-01-02 03:04:05\ntagged: !!timestamp 2024-01-02\n"
        "within: [{when: 2024-01-02, 1: x}]\nbytes: !!binary aGk=\nnumber: 1_000\n"
    )
    made = order("-f", "p.yaml", "a.py").parameters
    assert made == {
        "day": "2024-01-02",
        "never": "2024-02-30",
        "at": "2024-01-02 03:04:05",
        "tagged": "2024-01-02",
        "within": [{"when": "2024-01-02", 1: "x"}],
        "bytes": "b'hi'",
        "number": 1000,
    }
    json.dumps(made)


@pytest.mark.parametrize(
    "text", ["a: !!timestamp 2024-02-30", "a: !!bool maybe", "a: !!int x", "a: &a [*a]", "a: !!timestamp x"]
)
def test_values_that_are_not_what_they_say_are_a_wrong_command_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(UsageError, match=r"p\.yaml is not YAML"):
        order("-f", "p.yaml", "a.py")


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        ({"status": "ok"}, Status.OK, 0),
        ({"status": "error", "ename": "ValueError", "evalue": "x"}, Status.ERROR, 1),
        ({"status": "error", "ename": "KeyboardInterrupt", "evalue": ""}, Status.INTERRUPTED, 130),
        ({"status": "error", "ename": "SystemExit", "evalue": "3", "exit_code": 1}, Status.EXIT, 1),
        ({"status": "error", "ename": "SystemExit", "evalue": "3"}, Status.EXIT, 3),
        ({"status": "error", "ename": "SystemExit", "evalue": "-1"}, Status.EXIT, 255),
        ({"status": "error", "ename": "SystemExit", "evalue": ""}, Status.EXIT, 0),
        ({"status": "error", "ename": "SystemExit", "evalue": "no data"}, Status.EXIT, 1),
        ({"status": "error", "ename": "ServerDiedError", "evalue": "", "dh_kernel": True}, Status.DIED, 4),
        ({"status": "error", "ename": "ServerDiedError", "evalue": ""}, Status.ERROR, 1),
        ({"status": "error", "ename": "ConnectError", "evalue": "", "dh_kernel": True}, Status.ERROR, 2),
        ({"status": "error", "ename": "SystemExit", "evalue": "--5"}, Status.EXIT, 1),
        ({"status": "error", "ename": "SystemExit", "evalue": "²"}, Status.EXIT, 1),
        ({"status": "error", "ename": "SystemExit", "evalue": "9" * 5000}, Status.EXIT, 1),
        ({"status": "error", "ename": "Stop", "evalue": "", "exit_code": 7}, Status.EXIT, 7),
        ({"status": "aborted"}, Status.INTERRUPTED, 130),
    ],
)
def test_outcomes_of_replies(reply: dict[str, Any], status: Status, code: int) -> None:
    made = of_reply(reply)
    assert (made.status, made.exit_code) == (status, code)
