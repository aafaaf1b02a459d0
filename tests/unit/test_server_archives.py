"""Names, options and the folder of Java's archives of classes, on files that only look like them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from dh_kernel.server import archives


@pytest.fixture
def launch(tmp_path: Path) -> tuple[str, str, str]:
    """The folders of a launch: of archives, of a Java, of jars."""
    for name in ("java", "jars"):
        (tmp_path / name).mkdir()
    (tmp_path / "archives").mkdir(mode=0o700)
    (tmp_path / "java/release").write_text('JAVA_VERSION="17"')
    (tmp_path / "jars/one.jar").write_text("1")
    return str(tmp_path / "archives"), str(tmp_path / "java"), str(tmp_path / "jars")


def path_of(launch: tuple[str, str, str], *jvm_args: str) -> str:
    folder, java, jars = launch
    path = archives.archive_path(folder, java, archives.stamps_of(jars), ["-XX:+UseG1GC", *jvm_args])
    assert path is not None
    return path


def make(path: str, text: str = "classes") -> None:
    made = archives.begin(path)
    assert made is not None
    Path(made).write_text(text)
    assert archives.finish(path, made)


def test_the_name_follows_what_java_checks(launch: tuple[str, str, str]) -> None:
    before = path_of(launch)
    assert path_of(launch, "-Xmx8g", "-Dname=value", "-XX:ErrorFile=/tmp/x") == before
    assert path_of(launch, "-XX:+UseParallelGC") != before
    Path(launch[2], "one.jar").write_text("another")
    after = path_of(launch)
    assert after != before
    Path(launch[1], "release").write_text('JAVA_VERSION="17.0.1"')
    assert path_of(launch) not in (before, after)


@pytest.mark.parametrize(
    "own", ["-XX:SharedArchiveFile=x", "-Xshare:off", "-XX:AOTCache=x", "-XX:AOTMode=off", "-XX:DumpLoadedClassList=x"]
)
def test_users_options_of_that_kind_win(launch: tuple[str, str, str], own: str) -> None:
    assert archives.archive_path(*launch, [own]) is None


def test_one_at_a_time_makes_an_archive_and_once(launch: tuple[str, str, str]) -> None:
    path = path_of(launch)
    assert archives.options_to_use(path, 17) == []
    made = archives.begin(path)
    assert made is not None
    assert archives.begin(path) is None
    Path(made).write_text("classes")
    assert archives.finish(path, made)
    assert archives.begin(path) is None
    assert f"-XX:SharedArchiveFile={path}" in archives.options_to_use(path, 17)
    assert f"-XX:AOTCache={path}" in archives.options_to_use(path, 25)
    assert os.listdir(launch[0]) == [os.path.basename(path)]


def test_a_failure_is_not_tried_again_at_every_start(launch: tuple[str, str, str]) -> None:
    path = path_of(launch)
    made = archives.begin(path)
    assert made is not None
    assert not archives.finish(path, made)
    assert archives.begin(path) is None
    assert archives.clear(launch[0]) == 0
    assert archives.begin(path) is not None


def test_what_was_begun_long_ago_is_begun_again(launch: tuple[str, str, str]) -> None:
    path = path_of(launch)
    assert archives.begin(path) is not None
    hours_ago = time.time() - 7200
    os.utime(path + ".lock", (hours_ago, hours_ago))
    assert archives.begin(path) is not None


@pytest.mark.skipif(os.name != "posix", reason="the Java is a shell script")
def test_it_is_written_by_a_java_with_what_decides_about_classes(launch: tuple[str, str, str]) -> None:
    made = archives.begin(path_of(launch))
    assert made is not None
    [option] = archives.options_to_make(made, 17)
    assert option.startswith("-XX:DumpLoadedClassList=")
    Path(option.partition("=")[2]).write_text("java/lang/Object")
    java = Path(launch[1], "bin/java")
    java.parent.mkdir()
    java.write_text('#!/bin/sh\nfor each in "$@"; do echo "$each"; done > "$0.said"\n')
    java.chmod(0o755)
    given = ["-Dsecret=x", "-XX:+UseZGC", option, "-Xlog:cds", "-Xmx1g", "-agentlib:a", "--add-opens=a/b=ALL-UNNAMED"]
    archives.write(made, launch[1], given, "one.jar:two.jar")
    assert Path(f"{java}.said").read_text().split("\n") == [
        *("-XX:+UseZGC", "-Xmx1g", "--add-opens=a/b=ALL-UNNAMED", "-Xshare:dump"),
        *(option.replace("DumpLoadedClassList", "SharedClassListFile"), f"-XX:SharedArchiveFile={made}"),
        *("-cp", "one.jar:two.jar", ""),
    ]
    archives.give_up(path_of(launch), made)
    assert os.listdir(launch[0]) == []
    archives.write(made, launch[2], given, "one.jar")  # there is no Java


def test_java_25_writes_it_by_itself(launch: tuple[str, str, str]) -> None:
    assert not archives.writes_by_itself(24)
    assert archives.writes_by_itself(25)
    assert archives.options_to_make("a", 25) == ["-XX:AOTCacheOutput=a"]


@pytest.mark.skipif(os.name != "posix", reason="permissions are of POSIX")
def test_what_others_may_write_is_not_used(launch: tuple[str, str, str]) -> None:
    path = path_of(launch)
    make(path)
    os.chmod(path, 0o666)
    assert archives.options_to_use(path, 17) == []
    os.chmod(path, 0o600)
    os.chmod(launch[0], 0o777)
    assert archives.options_to_use(path, 17) == []


def test_those_unused_longest_go(launch: tuple[str, str, str]) -> None:
    paths = [path_of(launch, f"-XX:Option={number}") for number in range(archives.MOST_KEPT + 2)]
    for age, path in enumerate(paths):
        make(path)
        long_ago = time.time() - 86_400 + age
        os.utime(path, (long_ago, long_ago))
    archives.options_to_use(paths[2], 17)
    make(path_of(launch, "-XX:Option=last"))
    left = {os.path.join(launch[0], name) for name in os.listdir(launch[0])}
    assert len(left) == archives.MOST_KEPT
    assert paths[2] in left
    assert not left & set(paths[:2])
    assert archives.clear(launch[0]) == archives.MOST_KEPT
    assert os.listdir(launch[0]) == []
