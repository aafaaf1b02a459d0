"""What users keep in their IPython profile, on a launched server: start-up files, configuration, extensions; and bad ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import LAUNCHED, Kernel, Place, started

pytestmark = pytest.mark.long

READY_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def profiled(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel with a profile in which some files are bad."""
    folder: Path = tmp_path_factory.mktemp("ipython")
    profile = folder / "profile_default"
    (profile / "startup").mkdir(parents=True)
    (profile / "startup/00-good.py").write_text("from_startup = 11\nprint('printed at the start')\n", "utf-8")
    (profile / "startup/10-magic.ipy").write_text("here = %pwd\n", "utf-8")
    (profile / "startup/50-bad.py").write_text("1/0\n", "utf-8")
    (profile / "ipython_config.py").write_text(
        "c = get_config()\nc.InteractiveShellApp.exec_lines = ['from_line = 13', 'nowhere']\n"
        "c.InteractiveShellApp.extensions = ['autoreload', 'no_such_extension']\n"
        "c.InteractiveShell.ast_node_interactivity = 'all'\n",
        "utf-8",
    )
    (profile / "ipython_kernel_config.py").write_text("c = get_config()\nc.IPKernelApp.x = 1\n1/0\n", "utf-8")
    with started(place, LAUNCHED, {"IPYTHONDIR": str(folder)}) as kernel:
        kernel.ok("pass", READY_TIMEOUT_S)
        yield kernel


def test_start_up_files_and_lines_have_run(profiled: Kernel) -> None:
    run = profiled.ok("from_startup, from_line, type(here)")
    assert run.result == {"text/plain": "(11, 13, str)"}
    assert run.text() == ""


def test_the_configuration_holds(profiled: Kernel) -> None:
    run = profiled.ok("1\n2")
    assert [content["data"]["text/plain"] for content in run.contents("execute_result")] == ["1", "2"]
    assert profiled.ok("%autoreload 2").text("stderr") == ""


def test_names_of_the_start_are_hidden(profiled: Kernel) -> None:
    profiled.ok("mine_1 = 1")
    result = profiled.ok("%who_ls int").result
    assert result == {"text/plain": "['mine_1']"}
