"""A spare Deephaven server, for real: a kernel that claims it cannot tell it from one that it has launched."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import HEAP, LAUNCHED, Place, started, wait_until

from dh_kernel.server import standby

pytestmark = pytest.mark.skipif(not standby.POSSIBLE, reason="no file descriptors can be handed over here")
READY_S = 180.0
# What a cell sees of the process it runs in, but for what is its own: a table, files by relative paths, Java's view of both.
LOOK = """
def look():
    import builtins, json, os, signal, sys, jpy
    from deephaven import parquet, read_csv
    java = jpy.get_type
    names = sorted(name for name in globals() if name not in ("look",))
    umask = os.umask(0o077); os.umask(umask)
    parquet.write(__import__("deephaven").empty_table(3).update("X = i"), "kept.parquet")
    return json.dumps({
        "cwd": os.getcwd(), "argv": sys.argv, "path0": sys.path[0], "names": names, "umask": umask,
        "mine": os.environ.get("MINE"), "java_mine": java("java.lang.System").getenv("MINE"),
        "gone": os.environ.get("ONLY_THE_SPARES"), "path": os.environ["PATH"],
        "java_file": java("java.io.File")("x").getAbsolutePath(),
        "java_path": java("java.nio.file.Paths").get("x", []).toAbsolutePath().toString(),
        "rows": parquet.read("kept.parquet").size, "csv": read_csv("numbers.csv").size,
        "there": os.path.exists("kept.parquet"),
        "count": get_ipython().execution_count, "out": sorted(Out), "in": len(In), "dirs": get_ipython().user_ns["_dh"],
        "child": __import__("subprocess").run("pwd; echo $MINE", shell=True, capture_output=True, text=True).stdout,
        "sigint": str(signal.getsignal(signal.SIGTERM)), "main": sys.modules["__main__"].__dict__ is globals(),
        "hooks": [str(type(sys.displayhook)), str(sys.excepthook).split(" at ")[0], str(type(sys.stdout))],
        "filters": [str(each) for each in __import__("warnings").filters],
        "handlers": [str(each) for each in __import__("logging").getLogger().handlers],
        "signals": [str(signal.getsignal(n)).split(" at ")[0] for n in range(1, 32)],
        "threads": sorted({
            t.name.rstrip("0123456789abcdef") for t in __import__("threading").enumerate() if t.name != "dh-warm-up"
        }),
        "limits": __import__("resource").getrlimit(7),
        "pipes": sum("pipe" in os.path.realpath(f"/dev/fd/{n}") for n in range(999)),
        "nice": os.nice(0), "cpus": sorted(os.sched_getaffinity(0)),
        "builtins": len(dir(builtins)), "backend": os.environ.get("MPLBACKEND"), "stdin": os.readlink("/dev/fd/0"),
    }, default=str)
print(look())
"""


@pytest.fixture
def runtime_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the keepers of this test are, and no others."""
    with tempfile.TemporaryDirectory(prefix="sb") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield Path(folder)
        for path in filter(lambda path: path.startswith(folder), standby.sockets()):
            standby.ask(path, {"op": "stop"})
            wait_until(lambda path=path: not os.path.exists(path), "the keeper's end")


@pytest.mark.long
def test_a_claimed_server_looks_like_a_fresh_one(place: Place, runtime_folder: Path, tmp_path: Path) -> None:
    place.install("spare", DH_KERNEL_HEAP=HEAP, DH_KERNEL_STANDBY="1")
    before = tmp_path / "before"
    before.mkdir()
    environ = {"XDG_RUNTIME_DIR": str(runtime_folder), "ONLY_THE_SPARES": "1"}
    made = place.run("dh-kernel", "standby", "start", "--kernel", "spare", cwd=before, timeout_s=READY_S, **environ)
    assert made.returncode == 0, made.stderr
    state = json.loads(place.run("dh-kernel", "standby", "status", "--json", **environ).stdout)
    assert (state["waiting"], state["problem"]) == (1, "")

    looks = {}
    for name in (LAUNCHED, "spare"):
        folder = tmp_path / "notebook é"
        folder.mkdir(exist_ok=True)
        (folder / "numbers.csv").write_text("A\n1\n2\n")
        where = runtime_folder if name == "spare" else before  # where there is none
        environ = {"MINE": "ä", "XDG_RUNTIME_DIR": str(where)}
        with started(place, name, environ, cwd=folder) as kernel:
            looks[name] = json.loads(kernel.ok(LOOK, READY_S).text())
            if name == "spare":
                assert int(kernel.ok("import os; print(os.getpid())").text()) == state["pids"][0]
                assert "exit code 3" in kernel.run("import os; os._exit(3)").error["evalue"]
                assert kernel.ok("print(6 * 7)", READY_S).text() == "42\n"
    assert looks["spare"] == looks[LAUNCHED]
    assert looks["spare"]["rows"] == 3
    assert looks["spare"]["java_file"] == str(tmp_path / "notebook é" / "x")


@pytest.mark.long
def test_a_run_takes_it_and_start_up_files_run_only_for_their_notebook(
    place: Place, runtime_folder: Path, tmp_path: Path
) -> None:
    """A spare follows nobody's IPython profile before it is claimed, and a run none at all: it has a folder of its own."""
    started_up = tmp_path / "started_up"
    profile = tmp_path / "ipython" / "profile_default" / "startup"
    profile.mkdir(parents=True)
    (profile / "00-count.py").write_text(f"print('x', file=open({str(started_up)!r}, 'a'))", "utf-8")
    place.install("spare", DH_KERNEL_HEAP=HEAP, DH_KERNEL_STANDBY="1")
    environ = {"XDG_RUNTIME_DIR": str(runtime_folder), "IPYTHONDIR": str(tmp_path / "ipython")}

    def spare() -> int:
        made = place.run("dh-kernel", "standby", "start", "--json", "--kernel", "spare", timeout_s=READY_S, **environ)
        assert made.returncode == 0, made.stderr
        return int(json.loads(made.stdout)["pids"][0])

    pid = spare()
    code = "import os; print(os.getpid(), os.environ['IPYTHONDIR'])"
    ran = place.run("dh-kernel", "run", "--kernel", "spare", "-c", code, timeout_s=READY_S, **environ)
    taken, folder = ran.stdout.split()
    assert (int(taken), ran.returncode) == (pid, 0), ran.stderr
    assert folder != environ["IPYTHONDIR"]
    assert not os.path.exists(folder)
    pid = spare()
    assert not started_up.exists()
    with started(place, "spare", environ) as kernel:
        assert kernel.ok("import os; print(os.getpid())", READY_S).text() == f"{pid}\n"
    assert started_up.read_text() == "x\n"
