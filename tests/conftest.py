"""Fixtures of the tests that run real programs: a place for Jupyter, a vanilla server, and one kernel of each kind per module.

Tests of units do not use them and need neither Java nor a server.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ATTACHED, HEAP, LAUNCHED, Kernel, Place, Vanilla, started, vanilla_server

READY_TIMEOUT_S = 120.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """A running server can stand in for the vanilla one: quicker for whoever works on the tests."""
    group = parser.getgroup("dh-kernel")
    group.addoption("--dh-server", metavar="HOST:PORT", help="use this Deephaven server instead of starting a vanilla one")
    group.addoption("--fault-rounds", type=int, metavar="N", help="how often tests/faults does each fault")
    group.addoption("--fault-seed", type=int, metavar="N", help="what decides their order")
    group.addoption("--faults", metavar="NAME,…", help="only these")
    group.addoption("--dh-key-file", metavar="FILE", help="the file with its pre-shared key")


def pytest_configure(config: pytest.Config) -> None:
    """Whoever starts the tests with `nohup`, or in a script's background, has signals ignored. Programs would inherit that,
    and rightly heed it; a handler they do not inherit, and the tests themselves go on as they were told."""
    for name in ("SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


@pytest.fixture(scope="session")
def vanilla_python() -> str:
    """The interpreter of an environment that has deephaven-server, and neither dh-kernel nor IPython."""
    python = os.environ.get("DH_KERNEL_VANILLA_PYTHON", "")
    if shutil.which(python) is None:
        pytest.fail(
            f"DH_KERNEL_VANILLA_PYTHON is {python!r}, which is no program. It has to name the Python of an environment with"
            " deephaven-server alone: python3 -m venv DIR; DIR/bin/pip install deephaven-server;"
            " export DH_KERNEL_VANILLA_PYTHON=DIR/bin/python. scripts/test does all of this.",
            pytrace=False,
        )
    return python


@pytest.fixture(scope="session")
def vanilla(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vanilla]:
    """One server for the whole run, that knows nothing of the kernel."""
    address, key_file = request.config.getoption("--dh-server"), request.config.getoption("--dh-key-file")
    if address:
        host, _, port = address.rpartition(":")
        yield Vanilla(host, int(port), Path(key_file).read_text("utf-8").strip(), Path(key_file).absolute())
        return
    vanilla_python = request.getfixturevalue("vanilla_python")
    with vanilla_server(vanilla_python, tmp_path_factory.mktemp("vanilla")) as server:
        yield server


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A folder of its own for Jupyter, with the kernelspec `deephaven` in it: a launched server."""
    made = Place(tmp_path_factory.mktemp("jupyter"))
    made.install(LAUNCHED, DH_KERNEL_HEAP=HEAP)
    return made


@pytest.fixture(scope="session")
def attached_place(place: Place, vanilla: Vanilla) -> Place:
    """The same folder, with the kernelspec `deephaven-attached` too: the vanilla server."""
    place.install(ATTACHED, DH_KERNEL_SERVER=vanilla.address, DH_KERNEL_KEY_FILE=str(vanilla.key_file))
    return place


@pytest.fixture(scope="module")
def launched_kernel(place: Place) -> Iterator[Kernel]:
    """A kernel with a server of its own, for all tests of a module."""
    with started(place, LAUNCHED) as kernel:
        kernel.ok("pass", READY_TIMEOUT_S)
        yield kernel


@pytest.fixture(scope="module")
def attached_kernel(attached_place: Place) -> Iterator[Kernel]:
    """A kernel on the vanilla server, for all tests of a module.

    That server is the whole run's, and so are its variables: those of the module are deleted, or the next one would find them.
    """
    with started(attached_place, ATTACHED) as kernel:
        before = kernel.ok("print(*globals())", READY_TIMEOUT_S).text().split()
        yield kernel
        kernel.ok(
            f"for _name in set(globals()) - set({before!r}):\n    if not _name.startswith('_'):\n        del globals()[_name]"
        )


@pytest.fixture(scope="module", params=["launched", "attached"])
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Both kinds, one after the other."""
    found: Kernel = request.getfixturevalue(f"{request.param}_kernel")
    return found
