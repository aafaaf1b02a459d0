"""The release lines of Deephaven before the installed one, each on a real server, in an environment that the kernel installs.

The first run of a version downloads some hundred megabytes; the next ones find it in the user's cache folder.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import HEAP, Kernel, Place, started

from dh_kernel import versions
from dh_kernel.errors import ServerStartError

INSTALL_S = 900.0
START_S = 120.0
VERSIONS = ("41.11", pytest.param("0.40.9", marks=pytest.mark.long))


@pytest.fixture(scope="module", params=VERSIONS)
def kernel(request: pytest.FixtureRequest, place: Place) -> Iterator[Kernel]:
    """A kernel on a server of one version."""
    name = "deephaven-" + request.param.replace(".", "-")
    place.install(name, DH_KERNEL_HEAP=HEAP, DH_KERNEL_DEEPHAVEN_VERSION=request.param, DH_KERNEL_CLASS_ARCHIVE="0")
    with started(place, name) as made:
        run = made.ok("import deephaven_server; print(deephaven_server.__version__)", INSTALL_S)
        assert run.text() == f"{request.param}\n"
        yield made


@pytest.mark.long
@pytest.mark.skipif(shutil.which("uv") is None, reason="there is no uv on the PATH")
def test_uv_installs_a_version_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a folder whose settings would lead uv astray."""
    monkeypatch.setattr(versions, "folder", lambda: str(tmp_path / "environments"))
    (tmp_path / "uv.toml").write_text('index-url = "http://127.0.0.1:9/simple"\n')
    monkeypatch.chdir(tmp_path)
    told: list[str] = []
    environment = versions.Environment("41.11", (), sys.executable)
    python = versions.provide(environment, told.append)
    assert "with uv" in told[0]
    ask = "import importlib.metadata as m; print(m.version('deephaven-server'))"
    asked = subprocess.run([python, "-I", "-c", ask], capture_output=True, text=True, check=True)
    assert asked.stdout == "41.11\n"
    # A program there finds its interpreter, though it was installed elsewhere.
    subprocess.run([Path(python).with_name("ipython"), "--version"], stdout=subprocess.DEVNULL, check=True)
    with pytest.raises(ServerStartError, match=r"has no dh-kernel-no-such-plugin for .* DH_KERNEL_DEEPHAVEN_PACKAGES"):
        versions.provide(versions.Environment("41.11", ("dh-kernel-no-such-plugin",), sys.executable), told.append)


def test_cells_their_output_and_errors(kernel: Kernel) -> None:
    run = kernel.ok("import sys; print('out'); print('err', file=sys.stderr); 6 * 7", START_S)
    assert (run.text(), run.text("stderr")) == ("out\n", "err\n")
    assert run.result is not None
    assert run.result["text/plain"] == "42"
    assert kernel.run("1 / 0").error["ename"] == "ZeroDivisionError"
    assert kernel.ok("%time pass").text().startswith("CPU times")
    assert kernel.ok("!echo from a child").text().split() == ["from", "a", "child"]


def test_a_static_table_is_shown(kernel: Kernel) -> None:
    run = kernel.ok("from deephaven import empty_table\nt = empty_table(1000).update(['X = i', 'Y = `a` + i', 'Z = X / 7.0'])")
    [bundle] = run.bundles
    assert "<table" in bundle["text/html"]
    assert "a999" in bundle["text/html"]
    assert "1,000 rows" in bundle["text/plain"]


def test_a_ticking_table_is_shown_and_followed(kernel: Kernel) -> None:
    code = "from deephaven import time_table\nticking = time_table('PT0.1s').update('X = ii')\nticking.await_update(2000)"
    run = kernel.ok(code)
    assert any("<table" in bundle.get("text/html", "") for bundle in run.bundles)
    kernel.wait(lambda: bool(run.contents("update_display_data")), "an update of the table")
    kernel.ok("del ticking")


def test_an_interrupt(kernel: Kernel) -> None:
    run = kernel.send("print('begun')\nimport time\nwhile True: time.sleep(0.01)")
    kernel.wait(lambda: "begun" in run.text(), "the loop")
    kernel.interrupt()
    assert kernel.finish(run).error["ename"] == "KeyboardInterrupt"
    run = kernel.send(
        "from deephaven import time_table\nslow = time_table('PT1000S')\nprint('begun')\nslow.await_update(60_000)"
    )
    kernel.wait(lambda: "begun" in run.text(), "the wait")
    kernel.interrupt()
    assert kernel.finish(run).reply["status"] == "error"
    assert kernel.ok("print(1)").text() == "1\n"


def test_completion_and_inspection(kernel: Kernel) -> None:
    kernel.ok("from deephaven import empty_table\nprices = empty_table(3).update(['Symbol = `A`', 'Price = 1.5'])")
    code = "prices.update('Z = Pri"
    assert "Price" in kernel.request("complete_request", {"code": code, "cursor_pos": len(code)})["matches"]
    assert any(
        "sort" in match for match in kernel.request("complete_request", {"code": "prices.so", "cursor_pos": 9})["matches"]
    )
    content = kernel.request("inspect_request", {"code": "prices", "cursor_pos": 6, "detail_level": 0})
    assert content["found"]
    assert "Symbol" in content["data"]["text/plain"]
