"""Every fault of launched servers and of the network, in random order, against one kernel process that lives through all.

    scripts/test -m long tests/faults                          both of these: 50 minutes on two cores
    scripts/test -m long tests/faults -k most_important        one round of the most important ones
    scripts/test -m long tests/faults -k every_fault           20 rounds of all
    scripts/test -m long tests/faults --fault-rounds 2 --fault-seed 7 --faults crash,abort

The seed is printed; with the same one the order and the variants are the same. A fault that needs a small disk of its own is
done where a tmpfs can be mounted, which takes root.
"""

from __future__ import annotations

import faulthandler
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from faulting import ALL, HEAP, SHORT, Bench, Fault, full_disk
from faulting_network import NETWORK, RECONNECT_S
from harness import Place, Vanilla, started
from proxy import Proxy

from dh_kernel.model import PSK_AUTH_TYPE, Endpoint

ROUNDS = 20
NAME = "deephaven-faults"


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder for temporary files, and whether it is a small disk."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    small = (
        hasattr(os, "geteuid") and os.geteuid() == 0 and not subprocess.run(mount, capture_output=True, check=False).returncode
    )
    yield folder, small
    if small:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def bench(
    place: Place,
    temporary: tuple[Path, bool],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Bench]:
    folder, small = temporary
    seed = request.config.getoption("--fault-seed") or random.randrange(10**6)
    with capsys.disabled():
        print(f"\nfaults: seed {seed}", flush=True)
    environ = {"TMPDIR": str(folder), "DH_KERNEL_HEAP": HEAP, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    if request.node.get_closest_marker("long"):
        environ["DH_KERNEL_RECONNECT_TIME"] = str(RECONNECT_S)
        make_archive(place, environ)
    else:
        environ["DH_KERNEL_CLASS_ARCHIVE"] = "0"
    place.install(NAME, DH_KERNEL_HEAP=HEAP)
    with started(place, NAME, environ) as kernel:
        kernel.ok("kept = 1", 180.0)
        yield Bench(kernel, folder, random.Random(seed), small=small)


def make_archive(place: Place, environ: dict[str, str]) -> None:
    """So that starts are quick, and the kernel makes none in the background: a second server would be among the processes."""
    command = [sys.executable, "-c", "import sys; from dh_kernel.cli import main; sys.exit(main())", "archive", "make"]
    subprocess.run(command, env={**place.environ, **environ}, check=True, timeout=300, capture_output=True)


def run_all(bench: Bench, faults: Sequence[Fault], capsys: pytest.CaptureFixture[str]) -> None:
    faulthandler.cancel_dump_traceback_later()  # pytest's, after three minutes
    kernel = bench.kernel.pid
    for number, fault in enumerate(faults, 1):
        begun = time.monotonic()
        try:
            fault(bench)
            bench.check()
        except BaseException:
            with capsys.disabled():
                print(f"fault {number}: {fault.__name__} failed", flush=True)
            raise
        with capsys.disabled():
            print(f"fault {number} of {len(faults)}: {fault.__name__}, {time.monotonic() - begun:.1f} s", flush=True)
    assert bench.kernel.pid == kernel
    bench.check_bounded()
    delays = bench.delays_s or [0.0]  # some faults are no deaths
    with capsys.disabled():
        print(f"from a death to the cell's end: median {statistics.median(delays):.2f} s, longest {max(delays):.2f} s")
    assert max(delays) < 1.0, delays


@pytest.mark.long
def test_the_most_important_faults_once(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    run_all(bench, bench.number.sample(SHORT, len(SHORT)), capsys)


@pytest.mark.long
def test_every_fault_many_times(
    bench: Bench, vanilla: Vanilla, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    bench.key_file = vanilla.key_file
    bench.proxy = Proxy(Endpoint(vanilla.host, vanilla.port, PSK_AUTH_TYPE, vanilla.key))
    rounds = request.config.getoption("--fault-rounds") or ROUNDS
    wanted = request.config.getoption("--faults")
    faults = [fault for fault in (*ALL, *NETWORK) if not wanted or fault.__name__ in wanted.split(",")]
    if not bench.small:
        with capsys.disabled():
            print("full_disk is left out: no tmpfs can be mounted here", flush=True)
        faults = [fault for fault in faults if fault is not full_disk]
    order = faults * rounds
    bench.number.shuffle(order)
    try:
        run_all(bench, order, capsys)
    finally:
        bench.proxy.close()
