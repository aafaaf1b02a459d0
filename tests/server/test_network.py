"""What networks do between a kernel and an attached server, and sessions that go on without a kernel."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proxy import Proxy
from sessions import Client, Console, Kind, Run, until

from dh_kernel.errors import SessionDetachedError, SessionTakenError
from dh_kernel.session import DetachedSession

_TABLES = """
import time
from deephaven import empty_table
for i in range({count}):
    print('line', i)
    globals()['t_{name}'] = empty_table(i + 1).update(['X = ii', 'S = `row ` + ii'])
    from dh_kernel.display import display
    display(globals()['t_{name}'])
    time.sleep({pause})
'reply'
"""
TASKS = Path("/proc/self/task")


@pytest.fixture
def kind(vanilla_kind: Kind) -> Kind:
    """Networks are between a kernel and a server that it is attached to."""
    return vanilla_kind


@pytest.fixture
def proxy(vanilla_kind: Kind) -> Iterator[Proxy]:
    made = Proxy(vanilla_kind.endpoint)
    yield made
    made.close()


def sizes_read(client: Client, run: Run) -> list[int]:
    """The tables that a cell showed, each read as the kernel does."""
    found = []
    for table in run.tables:
        preview = client.preview(table)
        assert preview.data is not None, preview.problem
        assert preview.data.column("S").to_pylist()[-1] == f"row {preview.info.rows - 1}"  # type: ignore[operator]
        found.append(preview.info.rows)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize(
    "fault",
    [
        lambda proxy: proxy.cut(),
        pytest.param(lambda proxy: proxy.half_close(towards_server=True), marks=pytest.mark.long),
        pytest.param(lambda proxy: proxy.half_close(towards_server=False), marks=pytest.mark.long),
    ],
    ids=["cut", "half-closed towards the server", "half-closed towards the kernel"],
)
def test_output_and_tables_survive(proxy: Proxy, fresh: str, fault: Callable[[Proxy], object]) -> None:
    """Tables that have arrived, and have not been read when the connection breaks, are read over the next one."""
    client = Client(proxy.endpoint)
    run = client.send(_TABLES.format(name=fresh, count=30, pause=0.03))
    for mark in ("line 5\n", "line 20\n"):
        client.wait_for_text(run, mark)
        fault(proxy)
    client.finish(run)
    assert run.text() == "".join(f"line {i}\n" for i in range(30))
    assert run.result == "'reply'"
    assert sizes_read(client, run) == [*range(1, 31), 30]
    assert client.lost == []
    client.close()


def test_what_a_lost_session_had_bound_is_the_next_ones_to_forget(proxy: Proxy, fresh: str) -> None:
    client = Client(proxy.endpoint, linger_s=0.5, kernel=fresh)
    client.run(f"first_{fresh} = 1")
    client.session.close(say_goodbye=False)
    heir = Client(proxy.endpoint, kernel=fresh)
    heir.run(f"second_{fresh} = 2")
    other = Client(proxy.endpoint)
    other.run(f"third_{fresh} = 3")
    heir.ask("forget")
    assert other.run(f"[name for name in globals() if name.endswith('{fresh}')]").result == f"['third_{fresh}']"
    other.close()
    heir.close()


@pytest.mark.long
@pytest.mark.skipif(not TASKS.is_dir(), reason="threads of libraries are counted in /proc")
def test_no_thread_is_left_of_a_connection(proxy: Proxy, fresh: str) -> None:
    """Neither of one that broke, nor of a session that has ended, which the kernel remembers."""
    kept: list[Client] = []
    threads: list[int] = []
    for _ in range(5):
        client = Client(proxy.endpoint)
        kept.append(client)
        run = client.send(_TABLES.format(name=fresh, count=10, pause=0.03))
        for mark in ("line 2\n", "line 6\n"):
            client.wait_for_text(run, mark)
            proxy.cut()
        client.finish(run)
        assert sizes_read(client, run) == [*range(1, 11), 10]
        client.close()
        threads.append(_threads())
    until(lambda: _threads() <= threads[0] + 2, f"the end of threads: {threads}")


def _threads() -> int:
    """Python's, and those that Arrow starts, which have the process's name too; gRPC's pools have names, and vary."""
    own = (TASKS / str(os.getpid()) / "comm").read_text()
    found = 0
    for task in TASKS.iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found += (task / "comm").read_text() == own
    return found


@pytest.mark.long
def test_delays_change_nothing(proxy: Proxy, fresh: str) -> None:
    """The connections of frames and of rows are delayed each on its own, so that they overtake each other."""
    client = Client(proxy.endpoint)
    proxy.delay_s = 0.2
    run = client.run(_TABLES.format(name=fresh, count=8, pause=0))
    assert run.text() == "".join(f"line {i}\n" for i in range(8))
    assert sizes_read(client, run) == [*range(1, 9), 8]
    client.close()


@pytest.mark.long
@pytest.mark.parametrize("kind_of_drop", ["refused", "silent", "lost"])
def test_a_drop_of_a_minute_loses_nothing(proxy: Proxy, fresh: str, kind_of_drop: str) -> None:
    """Refused: every attempt fails at once. Silent: data is held up for a minute. Lost: nobody is told of the end."""
    client = Client(proxy.endpoint, linger_s=75.0)
    run = client.send(_TABLES.format(name=fresh, count=90, pause=0.8))
    client.wait_for_text(run, "line 5\n")
    {"refused": proxy.refuse, "silent": proxy.silence, "lost": lambda: (proxy.lose(), proxy.silence())}[kind_of_drop]()
    time.sleep(60.0)
    proxy.accept_again()
    proxy.pass_on()
    client.finish(run, 90)
    assert run.text() == "".join(f"line {i}\n" for i in range(90))
    assert run.result == "'reply'"
    assert sizes_read(client, run) == [*range(1, 91), 90]
    assert client.lost == []
    client.close()


def left_behind(client: Client, name: str) -> list[DetachedSession]:
    """What another kernel's session finds to pick up."""
    found = [DetachedSession.of(each) for each in client.ask("left_behind")["sessions"]]
    return [each for each in found if each.name == name]


COUNT = "import time\nfor i in range({count}):\n    print('line', i)\n    time.sleep(0.02)\nx_{name} = 42\n'reply'"


def test_a_cell_goes_on_without_its_kernel_and_is_picked_up(proxy: Proxy, fresh: str) -> None:
    client = Client(proxy.endpoint, linger_s=1.0, detached_s=60.0)
    run = client.send(COUNT.format(name=fresh, count=200))
    client.wait_for_text(run, "line 10\n")
    proxy.refuse()
    client.wait(lambda: client.lost, "the news that it is detached")
    assert type(client.lost[0]) is SessionDetachedError
    proxy.accept_again()
    client.lost.clear()
    client.session.reattach()
    client.finish(run)
    assert run.text() == "".join(f"line {i}\n" for i in range(200))
    assert run.result == "'reply'"
    assert client.value(f"x_{fresh}") == "42"
    client.close()


def test_another_kernel_finds_what_a_killed_one_has_left(vanilla_kind: Kind, proxy: Proxy, fresh: str) -> None:
    """Also while the server still waits for the first one to come back."""
    client = Client(proxy.endpoint, linger_s=30.0, detached_s=60.0, name=fresh)
    other = vanilla_kind.open()
    assert left_behind(other, fresh) == []
    run = client.send(COUNT.format(name=fresh, count=100))
    client.wait_for_text(run, "line 10\n")
    client.session.close(say_goodbye=False)
    until(lambda: len(left_behind(other, fresh)) == 1, "the session that is left behind")
    (found,) = left_behind(other, fresh)
    assert (found.id, found.name) == (client.session.id, fresh)
    heir = Client(vanilla_kind.endpoint, take_over=found.id)
    assert left_behind(other, fresh) == []
    picked = heir.run_of(run.id)
    heir.finish(picked)
    assert picked.text().endswith("line 99\n")
    assert "line 50\n" in picked.text()
    assert picked.result == "'reply'"
    assert heir.value(f"x_{fresh}") == "42"
    heir.close()
    other.close()


def test_an_end_that_nobody_saw_is_kept_and_one_that_was_seen_is_not(vanilla_kind: Kind, proxy: Proxy, fresh: str) -> None:
    client = Client(proxy.endpoint, linger_s=0.5, detached_s=60.0, name=fresh)
    idle = Client(proxy.endpoint, linger_s=0.5, detached_s=60.0, name=fresh)
    assert idle.value("1 + 1") == "2"
    idle.session.consumed(0, at_once=True)
    run = client.send(f"import time\nprint('begun')\ntime.sleep(1)\nprint('ended')\nx_{fresh} = 1\n'the end'")
    client.wait_for_text(run, "begun")
    proxy.refuse()
    client.wait(lambda: client.lost, "the news that it is detached")
    other = vanilla_kind.open()
    until(lambda: [each.running for each in left_behind(other, fresh)] == [()], "the cell's end")
    (found,) = left_behind(other, fresh)
    heir = Client(vanilla_kind.endpoint, take_over=found.id)
    picked = heir.finish(heir.run_of(run.id))
    assert picked.text().endswith("ended\n")
    assert picked.result == "'the end'"
    heir.close()
    other.close()


def test_who_was_taken_over_is_told_and_does_not_come_back(vanilla_kind: Kind, proxy: Proxy) -> None:
    client = Client(proxy.endpoint, linger_s=30.0, detached_s=60.0)
    run = client.send("import time\nprint('begun')\ntime.sleep(3)\n'end'")
    client.wait_for_text(run, "begun")
    heir = Client(vanilla_kind.endpoint, take_over=client.session.id)
    client.wait(lambda: client.lost, "the news")
    assert type(client.lost[0]) is SessionTakenError
    assert heir.finish(heir.run_of(run.id)).result == "'end'"
    assert run.done is None
    client.session.close(say_goodbye=False)
    heir.close()


@pytest.mark.parametrize("detached_s", [pytest.param(0.0, marks=pytest.mark.long), 1.0])
def test_without_time_for_it_the_cell_ends(proxy: Proxy, console: Console, fresh: str, detached_s: float) -> None:
    """None at all, or no more."""
    client = Client(proxy.endpoint, linger_s=0.5, detached_s=detached_s)
    run = client.send(f"import time\nprint('begun')\ntry:\n    time.sleep(60)\nfinally:\n    ended_{fresh} = True")
    client.wait_for_text(run, "begun")
    proxy.refuse()
    until(lambda: console.value(f"'ended_{fresh}' in globals()"), "the interrupt")
    client.session.close(say_goodbye=False)


def test_who_prints_without_a_kernel_does_not_wait_and_what_is_too_much_is_left_out(
    vanilla_kind: Kind, proxy: Proxy, console: Console, fresh: str
) -> None:
    """40 MB: more than any window. The first and the last are there, and how much is not."""
    client = Client(proxy.endpoint, linger_s=0.5, detached_s=60.0)
    code = f"import time\nprint('begun')\ntime.sleep(2)\nfor i in range(400): print('x' * 100_000)\nended_{fresh} = 1\n'reply'"
    run = client.send(code)
    client.wait_for_text(run, "begun")
    proxy.refuse()
    until(lambda: console.value(f"'ended_{fresh}' in globals()"), "the cell's end")
    heir = Client(vanilla_kind.endpoint, take_over=client.session.id)
    picked = heir.finish(heir.run_of(run.id))
    assert 1_000_000 < len(picked.text()) < 20_000_000
    assert "bytes of output were left out while nobody was connected" in picked.text("stderr")
    assert picked.result == "'reply'"
    client.session.close(say_goodbye=False)
    heir.close()
