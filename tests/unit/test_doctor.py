"""What the doctor finds without a server, on environments that lack something."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from dh_kernel import doctor
from dh_kernel.doctor import OK, PROBLEM, WARNING, Finding
from dh_kernel.install import install


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


def test_forms() -> None:
    findings = [Finding("java", OK, "JDK 17"), Finding("ports", PROBLEM, "taken", "Set another.")]
    assert doctor.as_line(findings[0]) == "ok       java: JDK 17"
    assert doctor.as_line(findings[1]).splitlines()[1].strip() == "-> Set another."
    assert doctor.as_line(Finding("space", WARNING, "little")).startswith("note")
    content = json.loads(doctor.as_json(findings))
    assert content["ok"] is False
    assert content["findings"][1] == {"check": "ports", "state": "problem", "text": "taken", "next_step": "Set another."}
    assert doctor.is_well(findings[:1])
