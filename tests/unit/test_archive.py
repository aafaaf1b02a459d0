"""`dh-kernel archive`: what is told and refused, and what goes; the making is in tests/server/test_archives.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from dh_kernel.cli import main


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("dh_kernel.archive.archive_folder", lambda: str(tmp_path / "archives"))
    return tmp_path / "archives"


def test_a_folder_that_is_not_there_yet_has_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("status", "remove"):
        assert main(["archive", action]) == 0
        assert capsys.readouterr().out == f"0 archives of Java's classes, 0 MB, in {folder}\n"
    assert not folder.exists()


def test_they_are_counted_and_removed_and_nothing_else_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder.mkdir()
    (folder / "one.jsa").write_bytes(b"x" * 3_000_000)
    (folder / "two.jsa.failed").touch()
    (folder / "mine.txt").touch()
    assert main(["archive", "status"]) == 0
    assert capsys.readouterr().out == f"1 archive of Java's classes, 3 MB, in {folder}\n"
    assert main(["archive", "remove"]) == 0
    assert capsys.readouterr().out == f"0 archives of Java's classes, 0 MB, in {folder}\n"
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("DH_KERNEL_SERVER", "db:10000", "db:10000: no server is started"),
        ("DH_KERNEL_CLASS_ARCHIVE", "0", "set it to 1"),
        ("DH_KERNEL_HEAP", "much", "'much'"),
    ],
)
def test_none_is_made_where_none_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["archive", "make"]) == 1
    assert said in capsys.readouterr().err
    assert not folder.exists()


def test_the_version_is_installed_first(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[str] = []
    monkeypatch.setattr("dh_kernel.versions.folder", lambda: str(tmp_path / "environments"))
    monkeypatch.setattr("dh_kernel.versions.provide", lambda environment, progress: done.append(environment.version))
    monkeypatch.setattr("dh_kernel.archive.Training.run", lambda self, progress: not done.append("training"))
    monkeypatch.setenv("DH_KERNEL_DEEPHAVEN_VERSION", "41.11")
    assert main(["archive", "make"]) == 0
    assert done == ["41.11", "training"]
    assert "installing Deephaven 41.11" in capsys.readouterr().err


def test_an_unknown_kernelspec_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["archive", "make", "--kernel", "no-such-kernel"]) == 1
    assert "'no-such-kernel'" in capsys.readouterr().err


def test_an_unknown_action_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["archive", "bake"])
    assert end.value.code == 64
    assert "'bake'" in capsys.readouterr().err
