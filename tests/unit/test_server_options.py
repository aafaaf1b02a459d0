"""The options of a launch that depend on others."""

from __future__ import annotations

import pytest

from dh_kernel.errors import ServerStartError
from dh_kernel.server import process
from dh_kernel.server.java import Java
from dh_kernel.server.options import GIB, MIB, LaunchOptions, heap_for, initial_heap


@pytest.mark.parametrize(
    ("heap", "option"),
    [
        ("2g", f"-Xms{512 * MIB}"),
        ("256m", f"-Xms{256 * MIB}"),
        ("300000K", f"-Xms{300_000 * 1024}"),
        ("134217728", "-Xms134217728"),
    ],
)
def test_the_heap_begins_no_larger_than_it_may_become(heap: str, option: str) -> None:
    """Java refuses to start otherwise."""
    assert initial_heap(heap) == [option]


@pytest.mark.parametrize("heap", ["", "g", "4 gigs", "-1g"])
def test_a_size_that_is_not_understood_is_left_to_java(heap: str) -> None:
    assert initial_heap(heap) == []


def test_a_quarter_of_the_memory_more_on_small_machines() -> None:
    assert heap_for(64 * GIB) == 16 * GIB
    assert heap_for(6 * GIB) == 3 * GIB
    assert heap_for(1 * GIB) == GIB
    assert heap_for(None) == 4 * GIB


def test_a_machine_that_is_short_of_something_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the system's own would end whoever launches."""

    def short(*arguments: object) -> None:
        raise OSError(24, "Too many open files", "/tmp/there")

    monkeypatch.setattr(process, "find_java", lambda home, environ: Java("/no/java", 17, True))
    monkeypatch.setattr(process.ServerProcess, "__init__", short)
    with pytest.raises(ServerStartError, match=r"Too many open files \(/tmp/there\)\. Next step: "):
        process.ServerProcess.start(LaunchOptions(takes_spare=False))
