"""The installed package as Jupyter sees it: its kernelspecs and its commands, with the real programs."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import sysconfig
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(sysconfig.get_path("scripts"))


def run(program: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program of this environment by its full path, without activating the environment."""
    return subprocess.run(
        [str(SCRIPTS / program), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **environ},
    )


def listed(**environ: str) -> dict[str, Any]:
    """The kernelspecs that `jupyter kernelspec list` shows, by name."""
    done = run("jupyter", "kernelspec", "list", "--json", **environ)
    assert done.returncode == 0, done.stderr
    specs: dict[str, Any] = json.loads(done.stdout)["kernelspecs"]
    return specs


@pytest.fixture(scope="module")
def shipped() -> dict[str, Any]:
    """The wheel's own kernelspec."""
    return dict(listed()["deephaven"])


def test_package_brings_its_kernelspec(shipped: dict[str, Any]) -> None:
    """After `pip install` the kernel is in the picker, with nothing more to do."""
    spec = shipped["spec"]
    assert spec["display_name"] == "Deephaven"
    assert spec["language"] == "python"  # papermill's parameters and VS Code's Python features need it
    assert spec["interrupt_mode"] == "message"
    assert spec["argv"][1:] == ["-m", "dh_kernel", "-f", "{connection_file}"]


def test_shipped_interpreter_is_the_word_that_jupyter_client_replaces(shipped: dict[str, Any]) -> None:
    """A wheel cannot know a path; jupyter_client puts its own interpreter in place of exactly this word."""
    assert shipped["spec"]["argv"][0] == "python"


@pytest.mark.parametrize("size", [32, 64])
def test_logos_are_pngs_of_their_size_with_transparency(shipped: dict[str, Any], size: int) -> None:
    """The launcher shows them on light and on dark."""
    data = (Path(shipped["resource_dir"]) / f"logo-{size}x{size}.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    width, height, _, colour_type = struct.unpack(">IIBB", data[16:26])
    assert (width, height, colour_type) == (size, size, 6)


def test_vector_logo_is_there(shipped: dict[str, Any]) -> None:
    """JupyterLab prefers it."""
    assert "<svg" in (Path(shipped["resource_dir"]) / "logo-svg.svg").read_text("utf-8")


@pytest.mark.parametrize("command", [("jupyter", "deephaven"), ("dh-kernel",)])
def test_install_command_writes_one_that_jupyter_lists(command: tuple[str, ...], tmp_path: Path) -> None:
    """Both names of the command, as programs."""
    done = run(*command, "install", "--prefix", str(tmp_path), "--name", "dh-prod", "--server", "db:10000", "--tls")
    assert done.returncode == 0, done.stderr
    spec = listed(JUPYTER_PATH=str(tmp_path / "share/jupyter"))["dh-prod"]["spec"]
    assert spec["argv"][0] == sys.executable
    assert spec["env"] == {
        "DH_KERNEL_SERVER": "db:10000",
        "DH_KERNEL_TLS": "1",
        "DH_KERNEL_OF_KERNELSPEC": "SERVER TLS",
    }


def test_wrong_command_line_and_error_have_their_exit_codes(tmp_path: Path) -> None:
    """64 for the command line, 1 for an error; no traceback."""
    wrong = run("dh-kernel", "install", "--nonsense")
    error = run("dh-kernel", "install", "--prefix", str(tmp_path), "--name", "python3")
    assert (wrong.returncode, error.returncode) == (64, 1)
    assert "Traceback" not in wrong.stderr + error.stderr


def test_server_finds_the_plugin() -> None:
    """A Deephaven server with dh-kernel installed looks for exactly this entry point."""
    found = [entry.value for entry in entry_points(group="deephaven.plugin", name="registration_cls")]
    assert "dh_kernel.plugin:ChannelRegistration" in found
