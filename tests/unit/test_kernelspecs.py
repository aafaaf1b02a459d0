"""`dh-kernel list` and `uninstall`: every kernelspec of ours with where it leads and what is wrong; and no others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dh_kernel.cli import main
from dh_kernel.install import install

KEY = "s3cr3t-key"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where Jupyter looks, and nowhere else."""
    for variable in ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr("jupyter_client.kernelspec.SYSTEM_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.ENV_JUPYTER_PATH", [])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share/jupyter"))
    return tmp_path


def spec(place: Path, name: str) -> Path:
    return place / "share/jupyter/kernels" / name / "kernel.json"


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def listed(capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, dict[str, Any]]:
    """What `list --json` says, by name; its exit code is as given."""
    capsys.readouterr()
    if code:
        with pytest.raises(SystemExit) as left:
            main(["list", "--json"])
        assert left.value.code == code
    else:
        assert main(["list", "--json"]) == 0
    return {kernel["name"]: kernel for kernel in json.loads(capsys.readouterr().out)["kernels"]}


def test_several_kernelspecs_for_several_servers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "key").write_text(KEY)
    common = ["--prefix", str(place)]
    assert main(["install", *common, "--heap", "4g"]) == 0
    assert main(["install", *common, "--name", "prod", "--host", "db", "--tls", "--key-file", str(place / "key")]) == 0
    assert main(["install", *common, "--name", "test", "--server", "test:1", "--display-name", "Test"]) == 0
    found = listed(capsys)
    assert {name: kernel["server"] for name, kernel in found.items() if name in ("deephaven", "prod", "test")} == {
        "deephaven": None,
        "prod": "dh+tls://db:10000",
        "test": "test:1",
    }
    assert found["prod"]["settings"] == {"server": "db:10000", "key_file": str(place / "key"), "tls": "1"}
    assert found["test"]["display_name"] == "Test"
    assert found["deephaven"]["python"] == sys.executable
    assert all(kernel["problems"] == [] for kernel in found.values())
    assert main(["list"]) == 0
    told = capsys.readouterr().out
    assert "prod  (prod)  attaches to dh+tls://db:10000" in told
    assert "deephaven  (Deephaven)  launches a server" in told
    assert KEY not in told


def test_installing_over_is_editing(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["install", "--prefix", str(place), "--name", "prod", "--host", "old"])
    main(["install", "--prefix", str(place), "--name", "prod", "--host", "new", "--port", "1"])
    assert listed(capsys)["prod"]["server"] == "new:1"


def test_what_is_wrong_with_them(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("gone", "loose", "keyed", "typed"):
        install(name=name, display_name=name, prefix=str(place))
    install(
        name="files",
        display_name="files",
        prefix=str(place),
        environment={
            "DH_KERNEL_SERVER": "h:1",
            "DH_KERNEL_KEY_FILE": str(place / "no-key"),
            "DH_KERNEL_TLS_CA_CERT": str(place / "no-ca"),
            "DH_KERNEL_HEADERS": f"x=file:{place / 'no-header'} y=env:Y",
        },
    )
    argv = json.loads(spec(place, "gone").read_text())["argv"]
    rewrite(spec(place, "gone"), argv=["/no/such/python", *argv[1:]])
    rewrite(spec(place, "loose"), argv=["no-such-program", *argv[1:]])
    rewrite(spec(place, "keyed"), env={"DH_KERNEL_SERVER": "h:1", "DH_KERNEL_KEY": KEY, "OTHER_TOKEN": KEY})
    rewrite(spec(place, "typed"), argv=[*argv, "--KernelSettings.haep=4g"], env={"DH_KERNEL_ROWS": "many"})
    found = listed(capsys, 1)
    assert KEY not in json.dumps(found)
    problems = {name: "\n".join(kernel["problems"]) for name, kernel in found.items()}
    assert "/no/such/python is gone" in problems["gone"]
    assert "no-such-program is not on PATH" in problems["loose"]
    assert "a key in DH_KERNEL_KEY" in problems["keyed"]
    assert "Did you mean heap?" in problems["typed"]
    assert "DH_KERNEL_ROWS must be a whole number" in problems["typed"]
    assert [f"{name} is not there" in problems["files"] for name in ("no-key", "no-ca", "no-header")] == [True] * 3
    assert found["files"]["settings"]["headers"] == "x y"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SERVER", f"dh+tls://me:{KEY}@h:1"),
        ("SERVER", f"h:1:{KEY}"),
        ("SERVER", f"me:{KEY}/part@h:1"),
        ("HEADERS", f"{KEY}=="),
        ("HEADERS", f"x-token={KEY}"),
        ("HEADERS", f"'x-token={KEY}"),
        ("JVM_ARGS", f"-Xss2m '-Djavax.net.ssl.keyStorePassword={KEY} {KEY}'"),
        ("BROWSER_URL", f"https://me:{KEY}@h"),
        ("CHANNEL_OPTIONS", f"grpc.http_proxy=http://me:{KEY}@proxy"),
    ],
)
def test_a_key_that_was_edited_into_one_does_not_show(
    place: Path, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    install(prefix=str(place))
    rewrite(spec(place, "deephaven"), env={"DH_KERNEL_SERVER": "h:1", f"DH_KERNEL_{variable}": value})
    with pytest.raises(SystemExit):
        main(["list"])
    with pytest.raises(SystemExit):
        main(["list", "--json"])
    told = capsys.readouterr().out
    assert f"{variable.lower()} = " in told
    assert KEY not in told


def test_a_damaged_one_is_left_out_and_left_alone(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(prefix=str(place))
    damaged = spec(place, "deephaven").parent.parent / "damaged"
    damaged.mkdir()
    (damaged / "kernel.json").write_text("{")
    assert "damaged" not in listed(capsys)
    assert main(["uninstall", "damaged"]) == 1
    assert "cannot be read" in capsys.readouterr().err
    assert damaged.is_dir()


def test_uninstall_removes_ours_and_no_others(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two", "three"):
        install(name=name, display_name=name, prefix=str(place))
    other = spec(place, "other")
    other.parent.mkdir()
    other.write_text(json.dumps({"argv": ["python", "-m", "ipykernel_launcher"], "display_name": "x", "language": "python"}))
    assert main(["uninstall", "one", "TWO"]) == 0
    assert not spec(place, "one").parent.exists()
    assert not spec(place, "two").parent.exists()
    assert main(["remove", "other"]) == 1
    assert "is not of this kernel" in capsys.readouterr().err
    assert other.is_file()
    assert main(["uninstall", "four"]) == 1
    assert "Those of this kernel are: three" in capsys.readouterr().err


def test_uninstall_of_a_link_leaves_what_it_leads_to(place: Path) -> None:
    install(name="real", display_name="real", prefix=str(place))
    link = spec(place, "real").parent.parent / "link"
    link.symlink_to(spec(place, "real").parent)
    assert main(["uninstall", "link"]) == 0
    assert not link.exists()
    assert spec(place, "real").is_file()


def test_uninstall_tells_of_the_one_behind(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Jupyter finds the first of a name: there may be another."""
    for folder in ("first", "second"):
        install(name="twice", display_name="twice", prefix=str(place / folder))
    monkeypatch.setenv("JUPYTER_PATH", f"{place / 'first/share/jupyter'}:{place / 'second/share/jupyter'}")
    assert main(["uninstall", "twice"]) == 0
    told = capsys.readouterr().out
    assert f"Removed {place / 'first'}" in told
    assert f"another kernelspec 'twice', in {place / 'second'}" in told
