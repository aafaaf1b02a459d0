"""Taking the peers in turn: starting and ending them, rounds that begin with another one each, one peer's failure kept apart.

Neighbours: `rows.py` and `interactive.py` measure with it, `peers.py` runs things. Measures nothing itself.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from clients import Kernel
from peers import IPYKERNEL, OURS, Bench, KernelPeer, Peer
from report import Row


@contextlib.contextmanager
def fresh(bench: Bench, row: Row, name: str) -> Iterator[Kernel]:
    """A kernel that was just spawned, and ends with the block."""
    kernel = bench.kernel(OURS if name == OURS else IPYKERNEL)
    try:
        yield kernel
    finally:
        for text in kernel.stop():
            row.problem(text)


def rounds_of_names(bench: Bench, row: Row, names: tuple[str, ...], measure: Callable[[str, bool], None]) -> None:
    """Measure peers that each round starts anew. The first round warms the disk's caches and is not counted."""
    left = [name for name in names if name != OURS or bench.has_ours]
    for turn in range(bench.repeat + 1):
        for name in rotated(left, turn):
            try:
                measure(name, turn == 0)
            except Exception as error:  # one peer's failure must not cost the others' results
                row.problem(f"{name}: {type(error).__name__}: {error}")
                left.remove(name)


@contextlib.contextmanager
def running(bench: Bench, row: Row, *names: str) -> Iterator[list[Peer]]:
    """The peers that could be started; all are ended with the block."""
    peers: list[Peer] = []
    with contextlib.ExitStack() as stack:
        for name in names:
            if name == OURS and not bench.has_ours:
                continue
            try:
                peer = bench.start(name)
            except Exception as error:  # as above
                row.problem(f"{name}: not started: {type(error).__name__}: {error}")
                continue
            stack.callback(_stop, row, peer)
            peers.append(peer)
        yield peers


def _stop(row: Row, peer: Peer) -> None:
    for text in peer.stop():
        row.problem(text)


def rounds(row: Row, peers: list[Peer], count: int, measure: Callable[[Peer], None]) -> None:
    """Measure `count` times, the peers in turn, each round beginning with another one."""
    for turn in range(count):
        each(row, rotated(peers, turn), measure, everyone=peers)


def each(
    row: Row,
    order: list[Peer],
    work: Callable[[Peer], object],
    *,
    everyone: list[Peer] | None = None,
    discard: Row | None = None,
) -> None:
    """Do `work` with each peer; one that fails is reported and takes no further part.

    `discard`: a row whose samples are dropped afterwards: this was the warm-up.
    """
    for peer in list(order):
        try:
            work(peer)
        except Exception as error:  # as above
            row.problem(f"{peer.name}: {type(error).__name__}: {error}")
            (order if everyone is None else everyone).remove(peer)
    if discard is not None:
        discard.metrics.clear()


def rotated(items: list, turn: int) -> list:  # type: ignore[type-arg]
    """The same items, beginning with another one each turn."""
    start = turn % len(items) if items else 0
    return items[start:] + items[:start]


def kernel_of(peer: Peer) -> Kernel:
    """The kernel of a peer that is one."""
    assert isinstance(peer, KernelPeer)
    return peer.kernel
