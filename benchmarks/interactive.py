"""The rows about what people do beside running cells: completing, inspecting, interrupting, moving a widget.

Neighbours: `rows.py` lists them with the others, `turns.py` takes the peers in turn, `clients.py` speaks to the kernels.
"""

from __future__ import annotations

import time

from clients import BenchmarkError, Kernel
from peers import EMBEDDED, IPYKERNEL, IPYKERNEL_SUBSHELL, OURS, Bench, Peer
from report import Row
from turns import each, kernel_of, rounds, running

PREPARE = "import os, time, threading\nalphabet = list('abc')\n"
TABLE = "from deephaven import empty_table\nprices = empty_table(10).update(['Symbol = `A`', 'Price = Math.sin(ii)'])\n"
# What is completed, and what must be among the matches.
COMPLETIONS = {"name": ("alpha", "alphabet"), "attribute": ("os.path.joi", "join"), "module": ("import urllib.pa", "parse")}
COLUMN = ("prices.update('Z = Pri", "Price")
BUSY = "print('begun')\nwhile True: pass"
INTO_THE_CALL_S = 0.3
# What runs when the stop button is pressed. Those with tables are for peers that have them. Each ends by itself at last, where
# nothing stops it; but for the loops, which Python can always stop.
WORK = {
    "loop": "while True: pass",
    "sleep": "import time; time.sleep(40)",
    "event": "import threading; threading.Event().wait(40)",
    "lock": "import threading; lock = threading.Lock(); lock.acquire(); lock.acquire(timeout=40)",
    "queue": "import queue; queue.Queue().get(timeout=40)",
    "join": "import threading; th = threading.Thread(target=threading.Event().wait, daemon=True); th.start(); th.join(40)",
    "program": "import subprocess; subprocess.run(['sleep', '40'])",
    "socket": "import socket; one, two = socket.socketpair(); one.settimeout(40); one.recv(1)",
    "await": "import asyncio; await asyncio.sleep(40)",
    "list": "[n for n in iter(int, 1)]",
    "regular expression": "import re; re.match(r'(a+)+b', 'a' * 30)",
    "flood": "while True: print('x' * 100)",
}
ENGINE_WORK = {
    "await_update": "ticking.await_update(40_000)",
    "Python formula": "t = empty_table(50_000_000).update('X = plus(ii)')",
    "sort": "t = empty_table(50_000_000).update_view(f'X = Math.sin(ii + {time.time()})').sort('X')",
    "aggregation": "t = empty_table(50_000_000).update_view([f'X = Math.sin(ii + {time.time()})', 'K = ii % 1000'])"
    ".agg_by([agg.std('X'), agg.median('M = X')], 'K')",
    "compilation": "for n in range(10**6): empty_table(1).update(f'X = ii * {n} + {time.time()}')",
}
PREPARE_ENGINE = """\
import time
from deephaven import agg, empty_table, time_table
def plus(n) -> int:
    return n + 1
ticking = time_table('PT1000S').drop_columns('Timestamp')
empty_table(1).update('X = plus(ii)')
ticking.await_update(100);
"""
COMM = """\
import comm
def opened(opened_comm, message):
    opened_comm.on_msg(lambda message: opened_comm.send(message['content']['data']))
comm.get_comm_manager().register_target('benchmark', opened)
"""


def completion(bench: Bench, row: Row) -> None:
    """From a complete_request to its reply; busy: while a loop runs. ipykernel then answers only in a subshell."""

    def warm(peer: Peer) -> None:
        kernel_of(peer).run(PREPARE + (TABLE if peer.name != IPYKERNEL else ""))
        for code, wanted in COMPLETIONS.values():
            _complete(kernel_of(peer), code, wanted)

    def idle(peer: Peer) -> None:
        for label, (code, wanted) in COMPLETIONS.items():
            row.add(f"idle, {label}", "ms", peer.name, _complete(kernel_of(peer), code, wanted), shown=("median", "p99"))
        if peer.name == OURS:
            row.add("idle, column in a formula", "ms", OURS, _complete(kernel_of(peer), *COLUMN), shown=("median", "p99"))

    def busy(peer: Peer) -> None:
        kernel = kernel_of(peer)
        ours = peer.name == OURS
        subshell = None if ours else kernel.make_subshell()
        request = kernel.begin(BUSY)
        for label, (code, wanted) in COMPLETIONS.items():
            for _ in range(2 if bench.quick else 5):
                taken = _complete(kernel, code, wanted, subshell)
                row.add(f"busy, {label}", "ms", OURS if ours else IPYKERNEL_SUBSHELL, taken, shown=("median", "p99"))
        kernel.interrupt(request)

    with running(bench, row, OURS, IPYKERNEL) as peers:
        each(row, peers, warm)
        rounds(row, peers, 3 if bench.quick else 5 * bench.repeat, idle)
        rounds(row, peers, bench.repeat, busy)


def _complete(kernel: Kernel, code: str, wanted: str, subshell: str | None = None) -> float:
    seconds, content = kernel.ask("complete_request", subshell=subshell, code=code, cursor_pos=len(code))
    if not any(wanted in match for match in content.get("matches", ())):
        raise BenchmarkError(f"{kernel.name}: {wanted!r} is not among the completions of {code!r}")
    return seconds * 1e3


def inspection(bench: Bench, row: Row) -> None:
    """From an inspect_request to its reply: a function, and a table where there is one."""

    def ask(peer: Peer, label: str, code: str) -> None:
        seconds, content = kernel_of(peer).ask("inspect_request", code=code, cursor_pos=len(code), detail_level=0)
        if not content.get("found"):
            raise BenchmarkError(f"{code!r} was not found")
        row.add(label, "ms", peer.name, seconds * 1e3, shown=("median", "p99"))

    def measure(peer: Peer) -> None:
        ask(peer, "function", "os.path.join")
        if peer.name != IPYKERNEL:
            ask(peer, "table", "prices")

    with running(bench, row, OURS, IPYKERNEL, EMBEDDED) as peers:
        each(row, peers, lambda peer: kernel_of(peer).run(PREPARE + (TABLE if peer.name != IPYKERNEL else "")))
        each(row, peers, measure, discard=row)
        rounds(row, peers, 3 if bench.quick else 5 * bench.repeat, measure)


def interrupts(bench: Bench, row: Row) -> None:
    """From the stop button to both reply and idle, by what the cell does; who does not stop within 20 s is left out."""
    stubborn: set[tuple[str, str]] = set()

    def measure(peer: Peer, label: str, code: str) -> None:
        if (peer.name, label) in stubborn:
            return
        kernel = kernel_of(peer)
        request = kernel.begin(f"import time\nprint('begun', flush=True)\ntime.sleep(0.1)\n{code}")
        time.sleep(INTO_THE_CALL_S)
        try:
            row.add(label, "ms", peer.name, kernel.interrupt(request, timeout_s=20) * 1e3, shown=("median", "max"))
        except BenchmarkError as error:
            stubborn.add((peer.name, label))
            row.problem(f"{label}: {str(error)[:100]}")
            kernel.finish(request)

    for names, prepare, works in (((OURS, IPYKERNEL), "pass", WORK), ((OURS, EMBEDDED), PREPARE_ENGINE, ENGINE_WORK)):
        with running(bench, row, *names) as peers:
            each(row, peers, lambda peer, code=prepare: kernel_of(peer).run(code))  # type: ignore[misc]
            for label, code in works.items():
                rounds(row, peers, bench.repeat, lambda peer, label=label, code=code: measure(peer, label, code))  # type: ignore[misc]


def comm_round_trip(bench: Bench, row: Row) -> None:
    """From a comm_msg of the front end to the one that the code on the other side sends back."""
    opened: dict[str, str] = {}

    def warm(peer: Peer) -> None:
        kernel_of(peer).run(COMM)
        opened[peer.name] = kernel_of(peer).open_comm("benchmark")

    def measure(peer: Peer) -> None:
        for number in range(20):
            seconds, data = kernel_of(peer).comm_round_trip(opened[peer.name], {"value": number})
            if data != {"value": number}:
                raise BenchmarkError(f"another value came back: {data}")
            row.add("there and back", "ms", peer.name, seconds * 1e3, shown=("median", "p99"))

    with running(bench, row, OURS, IPYKERNEL, EMBEDDED) as peers:
        each(row, peers, warm)
        each(row, peers, measure, discard=row)
        rounds(row, peers, bench.repeat, measure)
