"""`jupyter deephaven install`: what it writes, and what it refuses to write."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.kernelspec import KernelSpecManager

from dh_kernel import __version__
from dh_kernel.cli import main

KEY = "s3cr3t-key"


def written(prefix: Path, name: str = "deephaven") -> dict[str, Any]:
    """kernel.json as it is below a prefix."""
    spec: dict[str, Any] = json.loads((prefix / "share/jupyter/kernels" / name / "kernel.json").read_text("utf-8"))
    return spec


def test_writes_a_kernelspec_with_this_interpreter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """VS Code, and a Jupyter of another environment, need an absolute argv[0]."""
    assert main(["install", "--prefix", str(tmp_path)]) == 0
    spec = written(tmp_path)
    assert spec["argv"] == [sys.executable, "-m", "dh_kernel", "-f", "{connection_file}"]
    assert Path(spec["argv"][0]).is_absolute()
    assert spec["language"] == "python"
    assert spec["interrupt_mode"] == "message"
    assert spec["metadata"] == {"debugger": True}
    assert spec["display_name"] == "Deephaven"
    assert spec["env"] == {}
    told = capsys.readouterr().out
    assert str(tmp_path / "share/jupyter/kernels/deephaven") in told
    assert f"JUPYTER_PATH={tmp_path / 'share/jupyter'}" in told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "two words"], "'two words' is no name for a kernel"),
        (["--display-name", "Python 3"], "VS Code takes"),
        (["--env", "MY_TOKEN=1"], "MY_TOKEN looks like a secret"),
    ],
)
def test_what_is_refused_is_refused_before_a_version_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    """An installation takes minutes."""
    provided: list[str] = []
    monkeypatch.setattr("dh_kernel.versions.provide", lambda environment, progress: provided.append(environment.version))
    words = ["install", "--prefix", str(tmp_path), "--deephaven-version", "41.11"]
    assert main([*words, *arguments]) == 1
    assert said in capsys.readouterr().err
    assert provided == []
    assert main(words) == 0
    assert provided == ["41.11"]


def test_no_debugger_is_promised_on_a_server_that_is_not_launched(tmp_path: Path) -> None:
    """JupyterLab shows its debugger where the kernelspec says so."""
    assert main(["install", "--prefix", str(tmp_path), "--server", "127.0.0.1:10000"]) == 0
    assert written(tmp_path)["metadata"] == {"debugger": False}


def test_jupyter_finds_it_with_its_logos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is a kernelspec in Jupyter's eyes."""
    main(["install", "--prefix", str(tmp_path), "--name", "dh-Prod"])
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share/jupyter"))
    directory = Path(KernelSpecManager().get_kernel_spec("dh-prod").resource_dir)
    assert {path.name for path in directory.iterdir()} == {
        "kernel.json",
        "logo-32x32.png",
        "logo-64x64.png",
        "logo-svg.svg",
    }


def test_user_is_the_default_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment has the wheel's already; this one is for every other Jupyter of the user."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    assert main(["install"]) == 0
    assert (tmp_path / "kernels/deephaven/kernel.json").is_file()


def test_settings_are_baked_in(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths become absolute: a kernel starts in the directory of its notebook."""
    monkeypatch.chdir(tmp_path)
    arguments = ["--host", "db", "--auth-type", "psk", "--key-file", "key", "--tls-ca-cert", "ca.pem"]
    arguments += ["--header", "x-tenant=file:tenant", "--header", "x-id=env:ID", "--env", "TZ=UTC", "--env", "EQUALS=a=b"]
    assert main(["install", "--prefix", ".", "--name", "prod", *arguments]) == 0
    assert written(tmp_path, "prod")["env"] == {
        "TZ": "UTC",
        "EQUALS": "a=b",
        "DH_KERNEL_SERVER": "db:10000",
        "DH_KERNEL_AUTH_TYPE": "psk",
        "DH_KERNEL_KEY_FILE": str(tmp_path / "key"),
        "DH_KERNEL_TLS_CA_CERT": str(tmp_path / "ca.pem"),
        "DH_KERNEL_HEADERS": f"x-tenant=file:{tmp_path / 'tenant'} x-id=env:ID",
        "DH_KERNEL_OF_KERNELSPEC": "SERVER AUTH_TYPE KEY_FILE TLS_CA_CERT HEADERS",
    }
    assert written(tmp_path, "prod")["display_name"] == "prod"
    assert "cannot be read yet" in capsys.readouterr().out


def test_settings_of_a_launched_server_are_baked_in(tmp_path: Path) -> None:
    assert main(["install", "--prefix", str(tmp_path), "--heap", "4g", "--jvm-args=-Xss2m -Da=b", "--port", "1234"]) == 0
    assert written(tmp_path)["env"] == {
        "DH_KERNEL_HEAP": "4g",
        "DH_KERNEL_JVM_ARGS": "-Xss2m -Da=b",
        "DH_KERNEL_PORT": "1234",
        "DH_KERNEL_OF_KERNELSPEC": "PORT HEAP JVM_ARGS",
    }


def test_install_twice_replaces(tmp_path: Path) -> None:
    """The second call wins, and leaves nothing of the first."""
    main(["install", "--prefix", str(tmp_path), "--heap", "4g"])
    assert main(["install", "--prefix", str(tmp_path), "--display-name", "Other"]) == 0
    assert written(tmp_path)["env"] == {}
    assert written(tmp_path)["display_name"] == "Other"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--env", f"DH_KERNEL_KEY={KEY}"],
        ["--env", f"AWS_SECRET_ACCESS_KEY={KEY}"],
        ["--env", f"PGPASSWORD={KEY}"],
        ["--env", f"GITHUB_TOKEN={KEY}"],
        ["--env", f"API_KEY={KEY}"],
        [f"--jvm-args=-Dauthentication.psk={KEY}"],
        ["--env", f"DH_KERNEL_JVM_ARGS=-Djavax.net.ssl.keyStorePassword={KEY}"],
        ["--server", f"http://db:10000/?psk={KEY}"],
        ["--host", f"dh+tls://me:{KEY}@db:10000"],
        ["--host", "db", "--header", f"x-token=text:{KEY}"],
        ["--host", "db", "--header", f"x={KEY}"],
        ["--host", "db", "--channel-option", f"grpc.http_proxy=http://me:{KEY}@proxy"],
    ],
)
def test_a_secret_is_refused_and_not_repeated(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A kernelspec can be read by everybody."""
    assert main(["install", "--prefix", str(tmp_path), *arguments]) == 1
    assert not (tmp_path / "share").exists()
    told = capsys.readouterr()
    assert told.err
    assert KEY not in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--name", "my kernel"], "my kernel"),
        (["--name", ".."], "no name for a kernel"),
        (["--name", "../x"], "no name for a kernel"),
        (["--name", ""], "no name for a kernel"),
        (["--name", "python3"], "VS Code"),
        (["--name", "Python"], "VS Code"),
        (["--name", "python3.11"], "VS Code"),
        (["--display-name", "Python 3 (ipykernel)"], "VS Code"),
        (["--display-name", " "], "display name is empty"),
        (["--heap", "4 gigs"], "write 4g"),
        (["--server", "localhost"], "write localhost:10000"),
        (["--env", "NOVALUE"], "NAME=VALUE"),
        (["--env", "DH_KERNEL_HAEP=1g"], "DH_KERNEL_HEAP"),
        (["--host", "db", "--heap", "4g"], "DH_KERNEL_HEAP is for a server that the kernel launches"),
        (["--host", "db", "--server", "db:1"], "leave one of them out"),
        (["--host", "dh+plain://db", "--tls"], "leave one of them out"),
        (["--host", "db", "--tls-client-cert", "c"], "DH_KERNEL_TLS_CLIENT_KEY too"),
        (["--host", "db", "--auth-type", "anonymous", "--key-file", "k"], "gives a key"),
        (["--host", "db", "--auth-type", "pks"], "Did you mean psk?"),
        (["--key-file", "k"], "DH_KERNEL_SERVER"),
    ],
)
def test_bad_values_write_nothing(
    tmp_path: Path, arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, a message that helps, no file."""
    assert main(["install", "--prefix", str(tmp_path), *arguments]) == 1
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "share").exists()


def test_place_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the place and the way out."""
    (tmp_path / "share").write_text("a file, not a directory")
    assert main(["install", "--prefix", str(tmp_path)]) == 1
    assert str(tmp_path) in (told := capsys.readouterr().err)
    assert "--user" in told


def test_files_are_no_scripts(tmp_path: Path) -> None:
    """Data only, readable by the one who installed it."""
    main(["install", "--prefix", str(tmp_path)])
    mode = (tmp_path / "share/jupyter/kernels/deephaven/kernel.json").stat().st_mode
    assert mode & stat.S_IRUSR
    assert not mode & (stat.S_IXUSR | stat.S_IWOTH)


@pytest.mark.parametrize(
    "arguments", [[], ["no-such-command"], ["install", "--no-such-option"], ["install", "--user", "--prefix", "x"]]
)
def test_wrong_command_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 64, with the usage."""
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 64
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["install", "--key", KEY], "Did you mean --key-file?"),
        (["install", f"--psk={KEY}"], "there is no option --psk."),
        (["install", "--key-fil", KEY], "Did you mean --key-file?"),
        (["doctor", "--tls-ca", KEY], "Did you mean --tls-ca-cert?"),
        (["install", KEY], "more words"),
        (["install", "--haep", "4g"], "Did you mean --heap?"),
    ],
)
def test_an_option_that_is_not_known_names_the_closest_and_repeats_no_value(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What was meant for it may be a key; so an option cannot be shortened either."""
    with pytest.raises(SystemExit) as left:
        main([*words, "--prefix", str(tmp_path)] if words[0] == "install" else words)
    assert left.value.code == 64
    told = capsys.readouterr()
    assert says in told.err
    assert KEY not in told.err + told.out
    assert not (tmp_path / "share").exists()


def test_help_and_version(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Both names of the command speak of themselves."""
    for program, told in (("jupyter-deephaven", "jupyter deephaven"), ("dh-kernel", "dh-kernel")):
        monkeypatch.setattr(sys, "argv", [f"/usr/bin/{program}"])
        with pytest.raises(SystemExit) as left:
            main(["--help"])
        assert left.value.code == 0
        assert f"usage: {told}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"dh-kernel {__version__}\n"
