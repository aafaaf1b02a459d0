"""The runtime as it is shipped: one script without secrets, that loads in a Python which has nothing of ours."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import dh_kernel.runtime
from dh_kernel.session import shipping
from dh_kernel.session.shipping import closing_script, opening_script, runtime_sources

SCRIPT = opening_script("_channel", "session-1", {"launched": False, "linger_s": 60.0})


def isolated(source: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program where dh_kernel cannot be imported."""
    file = tmp_path / "program.py"
    refuse = (
        "import os, sys\n"
        "sys.path[:] = [path for path in sys.path if not os.path.isdir(os.path.join(path, 'dh_kernel'))]\n"
        "sys.path_importer_cache.clear()\n"
        "sys.meta_path[:] = [finder for finder in sys.meta_path if 'editable' not in repr(finder).lower()]\n"
        "import importlib.util\n"
        "assert importlib.util.find_spec('dh_kernel') is None\n"
    )
    file.write_text(refuse + source, "utf-8")
    return subprocess.run([sys.executable, "-I", str(file)], capture_output=True, text=True, timeout=60, check=False)


def test_the_script_compiles_and_is_one_statement() -> None:
    compile(SCRIPT, "<script>", "exec")
    assert SCRIPT.startswith("_channel = ")
    assert "\n" not in SCRIPT


def test_the_sources_are_those_of_the_package() -> None:
    name, blob = runtime_sources()
    sources = json.loads(zlib.decompress(base64.b64decode(blob)))
    folder = Path(str(dh_kernel.runtime.__file__)).parent
    assert sources == {file.stem: file.read_text("utf-8") for file in folder.glob("*.py")}
    assert re.fullmatch(r"_dh_kernel_runtime_[0-9a-f]{12}", name)


def test_the_name_depends_on_the_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernels of two versions on one server must not share modules."""
    (tmp_path / "__init__.py").write_text("x = 1", "utf-8")
    monkeypatch.setattr(shipping.resources, "files", lambda package: tmp_path)
    first = runtime_sources.__wrapped__()
    assert first == runtime_sources.__wrapped__()
    (tmp_path / "__init__.py").write_text("x = 2", "utf-8")
    assert runtime_sources.__wrapped__()[0] != first[0]


def test_no_path_and_no_key_is_shipped() -> None:
    """The script goes through the server's log of console commands."""
    decoded = zlib.decompress(base64.b64decode(runtime_sources()[1])).decode()
    outside = SCRIPT.replace(runtime_sources()[1], "")
    for secret in (str(Path(__file__).parents[2]), str(Path.home()), "authentication.psk", "auth_token"):
        assert secret not in outside
        assert secret not in decoded
    assert "session-1" in outside


def test_options_may_hold_anything_json_has() -> None:
    script = opening_script("v", "s", {"text": 'it\'s "quoted" \\ \n é {} %s', "n": None})
    compile(script, "<script>", "exec")


def test_the_runtime_loads_without_us(tmp_path: Path) -> None:
    """Every module that needs no deephaven is imported from the script alone, and tracebacks show its lines."""
    name, blob = runtime_sources()
    modules = ["wire", "streams", "tracebacks", "display", "introspection", "interpreter", "interrupts", "channel", "front"]
    done = isolated(
        f"made = {{}}\nexec({shipping._LOADER!r}, made)\nmodule = made['_load']({name!r}, {blob!r})\n"
        f"assert made['_load']({name!r}, {blob!r}) is module\n"
        f"import importlib, traceback\nfor part in {modules}:\n    importlib.import_module({name!r} + '.' + part)\n"
        f"wire = importlib.import_module({name!r} + '.wire')\n"
        "print(wire.unpack(wire.pack({'a': 1}, [b'x'])))\n"
        "try:\n    wire.unpack(b'????')\nexcept ValueError:\n    print(traceback.format_exc())\n"
        "assert not any(name.partition('.')[0] == 'dh_kernel' for name in sys.modules)\n",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("({'a': 1}, [b'x'])\n")
    assert f"<{name}>/wire.py" in done.stdout
    assert "raise WireError" in done.stdout


def loaded_from(folder: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Load the runtime where its files are said to be in a folder, and print where two of its modules came from."""
    name, blob = runtime_sources()
    return isolated(
        f"made = {{}}\nexec({shipping._LOADER!r}, made)\nmodule = made['_load']({name!r}, {blob!r}, {str(folder)!r})\n"
        f"import importlib\nwire = importlib.import_module({name!r} + '.wire')\n"
        "print(module.open_session.__code__.co_filename, module.__file__)\n"
        "print(wire.unpack.__code__.co_filename, wire.__file__)\n",
        tmp_path,
    )


def test_a_launched_server_loads_what_python_has_compiled_of_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "runtime"
    folder.mkdir()
    for part in ("__init__", "wire"):
        (folder / f"{part}.py").write_text(
            (Path(dh_kernel.runtime.__file__).parent / f"{part}.py").read_text("utf-8"), "utf-8"
        )
    done = loaded_from(folder, tmp_path)
    assert done.stdout.split() == [str(folder / "__init__.py")] * 2 + [str(folder / "wire.py")] * 2, done.stderr
    assert {path.name.partition(".")[0] for path in (folder / "__pycache__").iterdir()} == {"__init__", "wire"}


def test_a_file_that_says_something_else_than_was_shipped_is_not_used(tmp_path: Path) -> None:
    """As after an upgrade while the kernel runs; and one that is gone or no text is none."""
    folder = tmp_path / "runtime"
    folder.mkdir()
    (folder / "__init__.py").write_bytes(b"\xff\xfe")
    (folder / "wire.py").write_text("raise SystemExit('wrong file')", "utf-8")
    name, _ = runtime_sources()
    assert loaded_from(folder, tmp_path).stdout.split() == [f"<{name}>/__init__.py"] * 2 + [f"<{name}>/wire.py"] * 2
    assert loaded_from(tmp_path / "nowhere", tmp_path).stdout.count(f"<{name}>/") == 4


def test_only_a_launched_server_is_told_of_the_files() -> None:
    folder = str(Path(dh_kernel.runtime.__file__).parent)
    assert folder not in SCRIPT
    assert folder in opening_script("v", "s", {"launched": True})


def test_without_deephaven_the_script_says_what_is_missing(tmp_path: Path) -> None:
    blocked = (
        "class NoDeephaven:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('deephaven', 'jpy', 'deephaven_internal'):\n"
        "            raise ModuleNotFoundError('no ' + name)\n"
        "sys.meta_path.insert(0, NoDeephaven())\n"
    )
    done = isolated(blocked + SCRIPT, tmp_path)
    assert done.returncode != 0
    assert "EngineError: the server's Python has no usable deephaven package" in done.stderr


def test_the_closing_script_removes_the_variable_and_may_come_twice() -> None:
    names = {"_channel": 1, "t": 2}
    for _ in range(2):
        exec(closing_script("_channel"), names)
    assert "_channel" not in names
    assert names["t"] == 2
