"""What the fault suite does to the network between a kernel and a server that it is attached to.

Neighbours: `faulting` (the bench, and faults of servers), `proxy` (does it). Each fault attaches the one kernel of the suite
through the proxy, asserts that the cell shows what it would have shown without the fault, and goes back to a launched server.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator

from faulting import READY_TIMEOUT_S, Bench, Fault
from harness import Run
from proxy import Proxy

RECONNECT_S = 8.0
"""How long the kernel of the suite tries to come back (DH_KERNEL_RECONNECT_TIME)."""
_COUNT = 150
_CODE = (
    "import time\nfrom deephaven import empty_table\nfor i in range({count}):\n    print('line', i)\n    time.sleep(0.02)\n"
    "t_faults = empty_table(7).update('X = i')\n6 * 7"
)


def attached(fault: Callable[[Bench, Proxy], None]) -> Fault:
    """The fault while the kernel is attached through the proxy."""

    @functools.wraps(fault)
    def run(bench: Bench) -> None:
        proxy, kernel = bench.proxy, bench.kernel
        assert proxy is not None
        former = bench.server
        try:
            kernel.ok(f"%dh attach {proxy.endpoint.address} --key-file '{bench.key_file}'", READY_TIMEOUT_S)
            fault(bench, proxy)
            assert kernel.ok("1 + 1").result == {"text/plain": "2"}
        finally:
            proxy.delay_s = 0.0
            proxy.accept_again()
            proxy.pass_on()
        kernel.ok("del t_faults")
        kernel.ok("%dh detach", READY_TIMEOUT_S)
        bench.server_was_replaced(former)
        kernel.ok("kept = 1")

    return run


@contextlib.contextmanager
def whole_cell(bench: Bench) -> Iterator[None]:
    """What happens meanwhile costs the cell that runs nothing: it ends, and all of it has come."""
    run = begin(bench)
    yield
    bench.kernel.finish(run)
    whole(run)


def begin(bench: Bench) -> Run:
    """A cell that prints for three seconds; some of it has come."""
    run = bench.kernel.send(_CODE.format(count=_COUNT))
    mark = f"line {bench.number.randrange(2, 60)}\n"
    bench.kernel.wait(lambda: mark in run.text(), mark)
    return run


def whole(run: Run, text: str | None = None) -> None:
    """All has come, once and in order."""
    assert run.reply["status"] == "ok", run.reply
    assert (run.text() if text is None else text) == "".join(f"line {n}\n" for n in range(_COUNT))
    assert run.result == {"text/plain": "42"}
    assert "7 rows" in run.bundles[0]["text/plain"]


@attached
def connections_cut(bench: Bench, proxy: Proxy) -> None:
    """Resets, several times."""
    with whole_cell(bench):
        for _ in range(bench.number.randint(1, 4)):
            proxy.cut()
            time.sleep(bench.number.uniform(0.0, 0.6))


@attached
def refused_for_a_while(bench: Bench, proxy: Proxy) -> None:
    """No connection, old or new; shorter than the kernel tries."""
    with whole_cell(bench):
        proxy.refuse()
        time.sleep(bench.number.uniform(0.5, 4.0))
        proxy.accept_again()


@attached
def silent_network(bench: Bench, proxy: Proxy) -> None:
    """Nothing passes, and nobody is told; then all of it does."""
    with whole_cell(bench):
        proxy.silence()
        time.sleep(bench.number.uniform(0.5, 5.0))
        proxy.pass_on()


@attached
def slow_network(bench: Bench, proxy: Proxy) -> None:
    """Each direction is held up by itself, and cut once."""
    with whole_cell(bench):
        proxy.delay_s = bench.number.uniform(0.02, 0.2)
        time.sleep(0.5)
        proxy.cut()


@attached
def half_closed(bench: Bench, proxy: Proxy) -> None:
    """One direction is ended in good order, the other not."""
    with whole_cell(bench):
        proxy.half_close(towards_server=bench.number.random() < 0.5)


@attached
def connections_lost(bench: Bench, proxy: Proxy) -> None:
    """The connections are gone, and neither end is told: noticed by the keep-alive, some ten seconds later."""
    with whole_cell(bench):
        proxy.lose()


@attached
def cut_off_and_picked_up(bench: Bench, proxy: Proxy) -> None:
    """Longer than the kernel tries: the cell is reported as detached, and `%dh reattach` brings the rest."""
    run = begin(bench)
    proxy.refuse()
    bench.kernel.finish(run)
    assert run.error["ename"] == "SessionDetachedError"
    assert "%dh reattach" in run.error["evalue"]
    proxy.accept_again()
    picked = bench.kernel.run("%dh reattach", READY_TIMEOUT_S)
    whole(picked, run.text() + picked.text())


NETWORK: tuple[Fault, ...] = (
    connections_cut,
    refused_for_a_while,
    silent_network,
    slow_network,
    half_closed,
    connections_lost,
    cut_off_and_picked_up,
)
