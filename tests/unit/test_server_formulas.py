"""Formulas that are kept between servers, on files that only look like classes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dh_kernel.server import archives, formulas
from dh_kernel.server.formulas import KeptFormulas

MAGIC = b"\xca\xfe\xba\xbe"
BELOW = "io/deephaven/temp"


def name(number: int) -> str:
    return f"c_{number:064x}v61_0"


def compile_one(server: Path, number: int, *, session: str = "one", text: bytes = b"") -> Path:
    """What Deephaven leaves of a formula."""
    folder = server / "script-session-classes" / session / BELOW / name(number)
    folder.mkdir(parents=True)
    for file in ("Formula.class", "Formula$FormulaFillContext.class"):
        (folder / file).write_bytes(MAGIC + str(number).encode() + text)
    return folder


def empty_server(folder: Path) -> Path:
    (folder / "script-session-classes/another").mkdir(parents=True)
    return folder


def restored(server: Path) -> list[str]:
    return sorted(path.name for path in (server / "script-session-classes/another").rglob("c_*"))


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The folder that keeps formula 1 of a former server."""
    compile_one(tmp_path / "server", 1)
    assert KeptFormulas(str(tmp_path / "kept"), str(tmp_path / "server")).keep() == 1
    return tmp_path / "kept"


def test_the_next_server_gets_what_was_compiled(kept: Path, tmp_path: Path) -> None:
    server = empty_server(tmp_path / "next")
    ours = KeptFormulas(str(kept), str(server))
    assert ours.any
    assert ours.restore() == 1
    [folder] = (server / "script-session-classes/another").rglob("c_*")
    assert folder.relative_to(server / "script-session-classes/another").as_posix() == f"{BELOW}/{name(1)}"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "Formula.class": MAGIC + b"1",
        "Formula$FormulaFillContext.class": MAGIC + b"1",
    }
    assert ours.keep() == 0
    assert ours.restore() == 0


@pytest.mark.skipif(os.name != "posix", reason="permissions are of POSIX")
def test_only_the_user_may_look(kept: Path) -> None:
    assert kept.stat().st_mode & 0o077 == 0


def test_nothing_is_made_for_nothing(tmp_path: Path) -> None:
    for server in (tmp_path / "none", empty_server(tmp_path / "empty")):
        ours = KeptFormulas(str(tmp_path / "kept"), str(server))
        assert not ours.any
        assert ours.restore() == 0
        assert ours.keep() == 0
    assert not (tmp_path / "kept").exists()


def test_what_is_being_compiled_waits(tmp_path: Path) -> None:
    folder = compile_one(tmp_path / "server", 2)
    unfinished = tmp_path / "server/script-session-classes/one/temporaryCompilationDirectory12345" / BELOW / name(2)
    unfinished.parent.mkdir(parents=True)
    folder.rename(unfinished)
    ours = KeptFormulas(str(tmp_path / "kept"), str(tmp_path / "server"))
    assert ours.keep() == 0
    unfinished.rename(folder)
    assert ours.keep() == 1


@pytest.mark.parametrize("harm", ["cut", "changed", "gone", "more", "digests"])
def test_what_is_not_as_it_was_written_is_not_used(kept: Path, tmp_path: Path, harm: str) -> None:
    [folder] = kept.rglob("c_*")
    file = folder / "Formula.class"
    if harm == "cut":
        file.write_bytes(b"")
    elif harm == "changed":
        file.write_bytes(MAGIC + b"another")
    elif harm == "gone":
        file.unlink()
    elif harm == "more":
        (folder / "More.class").write_bytes(MAGIC)
    else:
        (folder / "digests").unlink()
    compile_one(tmp_path / "server", 3)
    assert KeptFormulas(str(kept), str(tmp_path / "server")).keep() == 1
    server = empty_server(tmp_path / "next")
    KeptFormulas(str(kept), str(server)).restore()
    assert restored(server) == [name(3)]
    compile_one(tmp_path / "next", 1, session="another")
    assert KeptFormulas(str(kept), str(server)).keep() == 1, "it is kept anew"


@pytest.mark.skipif(os.name != "posix", reason="Windows lets few users make links")
def test_a_link_is_not_followed(kept: Path, tmp_path: Path) -> None:
    [folder] = kept.rglob("c_*")
    (folder / "Formula.class").rename(tmp_path / "elsewhere")
    (folder / "Formula.class").symlink_to(tmp_path / "elsewhere")
    server = empty_server(tmp_path / "next")
    assert KeptFormulas(str(kept), str(server)).restore() == 0


def test_what_is_there_is_left_alone(kept: Path, tmp_path: Path) -> None:
    folder = compile_one(tmp_path / "next", 1, text=b" of this server")
    assert KeptFormulas(str(kept), str(tmp_path / "next")).restore() == 0
    assert (folder / "Formula.class").read_bytes() == MAGIC + b"1 of this server"


def test_a_formula_for_warming_up_is_not_kept(tmp_path: Path) -> None:
    compile_one(tmp_path / "server", 4, text=KeptFormulas.passing.encode())
    assert KeptFormulas(str(tmp_path / "kept"), str(tmp_path / "server")).keep() == 0


def test_those_kept_longest_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formulas, "MOST_KEPT", 2)
    ours = KeptFormulas(str(tmp_path / "kept"), str(tmp_path / "server"))
    for number in range(4):
        compile_one(tmp_path / "server", number)
        assert ours.keep() == 1
        os.utime(tmp_path / "kept" / BELOW / name(number), (time.time() - 100 + number,) * 2)
    assert sorted(path.name for path in (tmp_path / "kept").rglob("c_*")) == [name(2), name(3)]


def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    compile_one(tmp_path / "server", 5)
    ours = KeptFormulas(str(tmp_path / "kept"), str(tmp_path / "server"))
    assert not ours.any
    assert ours.keep() == 0


def test_the_folder_follows_the_jars(tmp_path: Path) -> None:
    jars, folder = tmp_path / "jars", tmp_path / "archives"
    jars.mkdir()
    (jars / "one.jar").write_text("1")
    stamps = archives.stamps_of(str(jars))
    before = archives.formulas_folder(str(folder), stamps)
    assert before is not None
    assert before == archives.formulas_folder(str(folder), archives.stamps_of(str(jars)))
    (jars / "one.jar").write_text("another")
    assert archives.formulas_folder(str(folder), archives.stamps_of(str(jars))) not in (None, before)
    Path(before).mkdir(mode=0o700)
    assert archives.clear(str(folder)) == 0
    assert not Path(before).exists()
    if os.name == "posix":
        folder.chmod(0o777)
        assert archives.formulas_folder(str(folder), stamps) is None
