"""What the doctor finds without a server, on environments that lack something."""

from __future__ import annotations

import ast
import json
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from dh_kernel import doctor
from dh_kernel.cli import main
from dh_kernel.doctor import OK, PROBLEM, WARNING, Finding
from dh_kernel.errors import ConnectError, DhKernelError, NoJavaError, ServerStartError, ServerStartTimeout
from dh_kernel.install import install
from dh_kernel.model import Endpoint
from dh_kernel.server import LaunchOptions, ServerProcess
from dh_kernel.trial import Trial


def found(*argv: str, **environ: str) -> dict[str, list[Finding]]:
    """The findings by their checks; no server."""
    findings: dict[str, list[Finding]] = {}
    for finding in doctor.examine(argv, {**os.environ, **environ}, trial=False):
        findings.setdefault(finding.check, []).append(finding)
    return findings


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Jupyter of our own, with one kernelspec."""
    for variable in [name for name in os.environ if name.startswith("DH_KERNEL_")]:
        monkeypatch.delenv(variable)
    for variable in ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    install(prefix=str(tmp_path))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share/jupyter"))
    return tmp_path


def test_all_is_well() -> None:
    findings = found()
    assert [finding.state for finding in findings["python"]] == [OK]
    assert "ipykernel" in findings["packages"][0].text
    assert "deephaven: " in findings["kernelspecs"][0].text
    assert sys.executable in findings["server's python"][0].text
    assert findings["java"][0].state == OK
    assert findings["ports"][0].state == OK


def test_a_misspelt_setting_is_named() -> None:
    [finding] = found(DH_KERNEL_HAEP="4g")["settings"]
    assert finding.state == PROBLEM
    assert "DH_KERNEL_HEAP" in finding.text


def test_a_python_without_a_server(place: Path) -> None:
    missing = str(place / "python")
    [finding] = found("--KernelSettings.python=" + sys.executable, DH_KERNEL_PYTHON=sys.executable)["server's python"][:1]
    assert finding.state == OK
    problems = [finding for each in found(DH_KERNEL_PYTHON=missing).values() for finding in each if finding.state == PROBLEM]
    assert any(missing in finding.text for finding in problems)


def test_modules_of_the_folder_are_not_imported(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "json.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(place)
    assert found()["server's python"][0].state == OK


def test_a_java_that_is_none(place: Path) -> None:
    (place / "java").mkdir()
    findings = found(DH_KERNEL_JAVA_HOME=str(place / "java"))
    problems = [finding for each in findings.values() for finding in each if finding.state == PROBLEM]
    assert any(str(place / "java") in finding.text for finding in problems)


def test_a_port_in_use() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        [finding] = found(DH_KERNEL_PORT=str(port))["ports"]
    assert finding.state == PROBLEM
    assert str(port) in finding.text
    assert "DH_KERNEL_PORT" in (finding.next_step or "")


def test_a_kernelspec_whose_python_is_gone(place: Path) -> None:
    file = place / "share/jupyter/kernels/deephaven/kernel.json"
    spec = json.loads(file.read_text("utf-8"))
    spec["argv"][0] = str(place / "gone")
    file.write_text(json.dumps(spec), "utf-8")
    [finding] = found()["kernelspecs"]
    assert finding.state == PROBLEM
    assert finding.next_step == "jupyter deephaven install --name deephaven"


def test_a_kernelspec_with_settings_is_not_to_be_installed_again_without_them(place: Path) -> None:
    settings = {"DH_KERNEL_SERVER": "db:10000", "DH_KERNEL_KEY_FILE": str(place / "no key"), "DH_KERNEL_HEADERS": "a=text:b"}
    install(name="prod", display_name="Our data", environment=settings, prefix=str(place))
    file = place / "share/jupyter/kernels/prod/kernel.json"
    command = (
        f"jupyter deephaven install --name prod '--display-name=Our data' --env=DH_KERNEL_SERVER=db:10000"
        f" '--env=DH_KERNEL_KEY_FILE={place}/no key', with --env for DH_KERNEL_HEADERS too"
    )
    [problem] = [finding for finding in found()["kernelspecs"] if finding.state == PROBLEM]
    assert "no key is not there" in problem.text
    assert problem.next_step == f"Correct {file}, or what it names; or change and run: {command}"
    spec = json.loads(file.read_text("utf-8"))
    (place / "no key").write_text("k")
    spec["argv"][0] = str(place / "gone")
    file.write_text(json.dumps(spec), "utf-8")
    [problem] = [finding for finding in found()["kernelspecs"] if finding.state == PROBLEM]
    assert problem.next_step == command


def every_next_step(findings: Sequence[Finding]) -> list[str]:
    """Of all that is not well, which there is something of."""
    rest = [finding for finding in findings if finding.state != OK]
    told = json.loads(doctor.as_json(findings))["findings"]
    assert rest
    assert [each["check"] for each in told if each["state"] != OK and each["next_step"]] == [each.check for each in rest]
    return [finding.next_step or "" for finding in rest]


def test_each_problem_of_settings_has_a_next_step() -> None:
    findings = found(DH_KERNEL_HAEP="4g", DH_KERNEL_ROWS="many")["settings"]
    assert len(every_next_step(findings)) == 2


def test_a_file_that_others_can_read_has_a_next_step(place: Path) -> None:
    key = place / "my key"
    key.write_text("a-key")
    key.chmod(0o644)
    findings = found(DH_KERNEL_SERVER="localhost:1", DH_KERNEL_KEY_FILE=str(key))["settings"]
    assert every_next_step(findings) == [f"chmod 600 '{key}'"]


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (NoJavaError("no Java"), "Install a JDK"),
        (ServerStartError("did not start"), "Mend what it says"),
        (ServerStartTimeout("not ready"), "DH_KERNEL_START_TIMEOUT"),
        (ConnectError("no answer. Next step: check the host."), "check the host."),
        (DhKernelError("something"), "report it"),
    ],
)
def test_every_error_of_a_launch_has_a_next_step(monkeypatch: pytest.MonkeyPatch, error: DhKernelError, step: str) -> None:
    def start(options: LaunchOptions) -> ServerProcess:
        raise error

    monkeypatch.setattr(doctor.ServerProcess, "start", start)
    [finding] = [finding for finding in doctor.examine((), os.environ) if finding.check == "launch"]
    assert step in every_next_step([finding])[0]
    assert finding.text == str(error).partition(" Next")[0]


def test_a_launch_that_is_not_tried_has_a_next_step(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dh_kernel.versions.folder", lambda: str(place))
    findings = list(doctor.examine((), {**os.environ, "DH_KERNEL_DEEPHAVEN_VERSION": "41.11"}))
    assert len(every_next_step([finding for finding in findings if finding.check in ("launch", "server's python")])) == 2


@pytest.mark.parametrize("error", [None, "ValueError: no"])
def test_a_cell_that_fails_on_an_attached_server_has_a_next_step_and_leaves_no_name(
    monkeypatch: pytest.MonkeyPatch, error: str | None
) -> None:
    """The globals of an attached server are shared: there may be an `empty_table` of somebody's."""

    class Table:
        size = 1000

        def update(self, formulas: list[str]) -> Table:
            return self

    namespace: dict[str, object] = {"empty_table": "mine"}

    def run_cell(endpoint: Endpoint, code: str, *, launched: bool) -> Trial:
        [statement] = ast.parse(code).body
        assert not isinstance(statement, ast.Expr), "its value would be the cell's result, and be kept as _"
        exec(code, namespace)
        return Trial("42", "3.12", 0.1, 0.1, 0, error)

    monkeypatch.setitem(sys.modules, "deephaven", SimpleNamespace(empty_table=lambda rows: Table()))  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "run_cell", run_cell)
    findings = list(doctor.examine((), {**os.environ, "DH_KERNEL_SERVER": "localhost:1"}))
    assert namespace.keys() - {"__builtins__"} == {"empty_table"}
    assert namespace["empty_table"] == "mine"
    attached = [finding for finding in findings if finding.check == "attach"]
    assert [finding.state for finding in attached] == [PROBLEM if error else OK]
    if error:
        assert "log of that server" in every_next_step(attached)[0]


def test_none_of_ours(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(place / "empty"))
    monkeypatch.setattr("jupyter_client.kernelspec.KernelSpecManager.kernel_dirs", [str(place / "empty")])
    assert found()["kernelspecs"][-1].next_step == "jupyter deephaven install"


def test_a_key_shows_nowhere(place: Path) -> None:
    key = "a-very-secret-key"
    findings = [finding for each in found(DH_KERNEL_SERVER="localhost:1", DH_KERNEL_KEY=key).values() for finding in each]
    assert any("localhost:1" in finding.text for finding in findings)
    assert key not in doctor.as_json(findings)
    assert all(key not in doctor.as_line(finding) for finding in findings)


@pytest.mark.parametrize(
    "words", [["--port", "10000"], ["--host", "db", "--server", "db:1"], ["--host", "db:1", "--port", "1"]]
)
def test_a_command_line_that_contradicts_itself_is_no_finding(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A port alone was not looked at, and what was examined was another server."""
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--no-trial", *words])
    assert left.value.code == 64
    told = capsys.readouterr()
    assert (told.out, words[0] in told.err) == ("", True)


def test_forms() -> None:
    findings = [Finding("java", OK, "JDK 17"), Finding("ports", PROBLEM, "taken", "Set another.")]
    assert doctor.as_line(findings[0]) == "ok       java: JDK 17"
    assert doctor.as_line(findings[1]).splitlines()[1].strip() == "-> Set another."
    assert doctor.as_line(Finding("space", WARNING, "little")).startswith("note")
    content = json.loads(doctor.as_json(findings))
    assert content["ok"] is False
    assert content["findings"][1] == {"check": "ports", "state": "problem", "text": "taken", "next_step": "Set another."}
    assert doctor.is_well(findings[:1])
