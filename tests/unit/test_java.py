"""Java discovery on folder trees made for the test: no Java runs here, but for one stand-in script."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dh_kernel.errors import NoJavaError
from dh_kernel.server.java import Java, find_java, inspect, install_hint, usual_folders

JDK_MODULES = "java.base java.compiler jdk.compiler jdk.zipfs"
JRE_MODULES = "java.base java.logging"


def make_java(home: Path, version: str, *, modules: str | None = JDK_MODULES, javac: bool = False) -> Path:
    """What an installer leaves: a JVM library, `bin/java`, and the `release` file."""
    (home / "lib" / "server").mkdir(parents=True)
    (home / "lib" / "server" / "libjvm.so").touch()
    (home / "bin").mkdir()
    (home / "bin" / "java").touch()
    if javac:
        (home / "bin" / "javac").touch()
    lines = [f'JAVA_VERSION="{version}"'] + ([f'MODULES="{modules}"'] if modules is not None else [])
    (home / "release").write_text("\n".join(lines))
    return home


def find(root: Path, explicit: str | None = None, **environ: str) -> Java:
    return find_java(explicit, environ={"HOME": str(root / "home"), **environ}, root=str(root))


@pytest.mark.parametrize(
    ("version", "major"), [("17.0.15", 17), ("25", 25), ("21.0.2-ea", 21), ("1.8.0_402", 8), ("11.0.22", 11)]
)
def test_version_comes_from_the_release_file(tmp_path: Path, version: str, major: int) -> None:
    java = inspect(str(make_java(tmp_path / "jdk", version)))
    assert isinstance(java, Java)
    assert java.version == major


def test_version_is_asked_for_where_there_is_no_release_file(tmp_path: Path) -> None:
    home = make_java(tmp_path / "jdk", "17", javac=True)
    (home / "release").unlink()
    script = home / "bin" / "java"
    script.write_text("#!/bin/sh\necho 'openjdk version \"21.0.3\" 2024-04-16' >&2\n")
    script.chmod(0o755)
    assert inspect(str(home)) == Java(str(home), 21, True)


@pytest.mark.parametrize(("modules", "javac", "compiler"), [(JDK_MODULES, False, True), (JRE_MODULES, False, False)])
def test_compiler_is_a_module_or_a_program(tmp_path: Path, modules: str, javac: bool, compiler: bool) -> None:
    java = inspect(str(make_java(tmp_path / "java", "17", modules=modules, javac=javac)))
    assert isinstance(java, Java)
    assert java.has_compiler is compiler


def test_compiler_is_found_without_a_list_of_modules(tmp_path: Path) -> None:
    with_program = inspect(str(make_java(tmp_path / "a", "17", modules=None, javac=True)))
    assert isinstance(with_program, Java)
    assert with_program.has_compiler
    home = make_java(tmp_path / "b", "17", modules=None)
    (home / "jmods").mkdir()
    (home / "jmods" / "jdk.compiler.jmod").touch()
    with_module = inspect(str(home))
    assert isinstance(with_module, Java)
    assert with_module.has_compiler


def test_bundle_of_macos_and_program_lead_to_the_home(tmp_path: Path) -> None:
    home = make_java(tmp_path / "temurin-17.jdk" / "Contents" / "Home", "17.0.1")
    for path in (tmp_path / "temurin-17.jdk", home / "bin" / "java"):
        java = inspect(str(path))
        assert isinstance(java, Java)
        assert java.home == str(home)


def test_explicit_setting_wins_over_everything(tmp_path: Path) -> None:
    chosen = make_java(tmp_path / "chosen", "25.0.1")
    other = make_java(tmp_path / "other", "17.0.1")
    assert find(tmp_path, str(chosen), JAVA_HOME=str(other)).home == str(chosen)


def test_explicit_jre_is_refused_although_a_jdk_is_elsewhere(tmp_path: Path) -> None:
    jre = make_java(tmp_path / "jre", "17.0.1", modules=JRE_MODULES)
    good = make_java(tmp_path / "good", "17.0.1")
    with pytest.raises(NoJavaError, match=r"DH_KERNEL_JAVA_HOME is .*jre, .*a JRE \(Java 17\) without the compiler.*install"):
        find(tmp_path, str(jre), JAVA_HOME=str(good))


def test_explicit_old_java_is_refused(tmp_path: Path) -> None:
    old = make_java(tmp_path / "old", "11.0.2")
    with pytest.raises(NoJavaError, match="Java 11, and Deephaven needs 17 or newer"):
        find(tmp_path, str(old))


def test_explicit_folder_that_is_missing_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoJavaError, match="there is no such folder"):
        find(tmp_path, str(tmp_path / "nothing"))
    with pytest.raises(NoJavaError, match="there is no Java in it"):
        find(tmp_path, str(tmp_path))


def test_java_home_wins_over_path_and_usual_folders(tmp_path: Path) -> None:
    chosen = make_java(tmp_path / "chosen", "25.0.1")
    on_path = make_java(tmp_path / "other", "17.0.1", javac=True)
    make_java(tmp_path / "usr" / "lib" / "jvm" / "java-17", "17.0.1")
    assert find(tmp_path, JAVA_HOME=str(chosen), PATH=str(on_path / "bin")).home == str(chosen)


@pytest.mark.parametrize(("version", "modules"), [("11.0.1", JDK_MODULES), ("21.0.1", JRE_MODULES)])
def test_unusable_java_home_is_skipped(tmp_path: Path, version: str, modules: str) -> None:
    bad = make_java(tmp_path / "bad", version, modules=modules)
    good = make_java(tmp_path / "usr" / "lib" / "jvm" / "java-17", "17.0.1")
    assert find(tmp_path, JAVA_HOME=str(bad)).home == str(good)


def test_program_on_path_leads_to_its_home_through_links(tmp_path: Path) -> None:
    home = make_java(tmp_path / "opt" / "real-jdk", "21.0.1", javac=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "alternatives").symlink_to(home / "bin" / "javac")
    (tmp_path / "bin" / "javac").symlink_to(tmp_path / "alternatives")
    assert find(tmp_path, PATH=os.pathsep.join(["", str(tmp_path / "bin")])).home == str(home)


def test_usual_folders_prefer_long_term_versions(tmp_path: Path) -> None:
    for version in ("23", "25", "21", "18"):
        make_java(tmp_path / "usr" / "lib" / "jvm" / f"java-{version}", version)
    assert find(tmp_path).version == 21
    make_java(tmp_path / "home" / ".sdkman" / "candidates" / "java" / "17.0.9-tem", "17.0.9")
    assert find(tmp_path).version == 17


def test_nothing_found_lists_what_was_rejected_and_the_next_step(tmp_path: Path) -> None:
    jre = make_java(tmp_path / "usr" / "lib" / "jvm" / "jre-17", "17.0.1", modules=JRE_MODULES)
    old = make_java(tmp_path / "old", "11.0.2")
    with pytest.raises(NoJavaError) as caught:
        find(tmp_path, JAVA_HOME=str(old))
    text = str(caught.value)
    assert "No JDK 17 or newer was found" in text
    assert f"{jre} (a JRE" in text
    assert f"{old} (JAVA_HOME: Java 11" in text
    assert install_hint() in text
    assert "DH_KERNEL_JAVA_HOME" in text


def test_usual_folders_of_other_platforms(tmp_path: Path) -> None:
    mac = make_java(tmp_path / "Library" / "Java" / "JavaVirtualMachines" / "x.jdk" / "Contents" / "Home", "17")
    assert str(mac.parent.parent) in usual_folders({}, platform="darwin", root=str(tmp_path))
    windows = make_java(tmp_path / "Program Files" / "Eclipse Adoptium" / "jdk-17", "17")
    environ = {"PROGRAMFILES": str(tmp_path / "Program Files")}
    assert str(windows) in usual_folders(environ, platform="win32", root=str(tmp_path))


@pytest.mark.parametrize(
    ("release", "command"),
    [
        ('ID=debian\nVERSION_ID="12"\n', "apt-get install openjdk-17-jdk-headless"),
        ('ID=debian\nVERSION_ID="13"\n', "apt-get install openjdk-21-jdk-headless"),
        ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n', "apt-get install openjdk-17-jdk-headless"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "dnf install java-21-openjdk-devel"),
    ],
)
def test_install_hint_on_linux(tmp_path: Path, release: str, command: str) -> None:
    (tmp_path / "os-release").write_text(release)
    assert install_hint("linux", str(tmp_path / "os-release")) == command


def test_install_hint_elsewhere() -> None:
    assert install_hint("darwin").startswith("brew install ")
    assert install_hint("win32").startswith("winget install ")
