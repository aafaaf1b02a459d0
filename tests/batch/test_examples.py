"""The nightly example, as it is in `examples/`, with the real command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from batching import TIMEOUT_S, Runs
from harness import SCRIPTS

NIGHTLY = Path(__file__).parent.parent.parent / "examples/nightly"


def nightly(runs: Runs, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(SCRIPTS), os.environ.get("PATH", os.defpath)))
    return subprocess.run(
        [str(NIGHTLY / "nightly.sh"), *arguments],
        capture_output=True,
        text=True,
        cwd=runs.folder,
        env={**runs.environ, "PATH": path, "NIGHTLY_PAUSE": "0", **environ},
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.long
def test_the_pipeline_writes_the_report(launched: Runs) -> None:
    done = nightly(launched, "2024-01-02", ".")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loading 2024-01-02\n")
    assert done.stdout.endswith("report of 2024-01-02: ./report-2024-01-02.ipynb\n")
    report = (launched.folder / "report-2024-01-02.ipynb").read_text()
    assert "2024-01-02 has 1000 trades at 17 prices" in report


@pytest.mark.long
def test_the_pipeline_tries_again_where_there_is_no_server(launched: Runs) -> None:
    done = nightly(launched, "2024-01-02", DH_KERNEL_JAVA_HOME="/")
    assert done.returncode == 2
    assert done.stderr.count("trying again") == 2
    assert "no server after 3 attempts" in done.stderr


@pytest.mark.long
def test_the_pipeline_tells_a_limit(launched: Runs) -> None:
    done = nightly(launched, "2024-01-02", NIGHTLY_TIMEOUT="1")
    assert done.returncode == 3
    assert "not done in time" in done.stderr


def test_the_job_file_calls_the_pipeline() -> None:
    job = yaml.safe_load((NIGHTLY / "ci.yml").read_text())["jobs"]["report"]
    assert any("examples/nightly/nightly.sh" in step.get("run", "") for step in job["steps"])
