"""Whose output: threads, pools, tasks, listeners and formulas print to their cell, on each kind of server."""

from __future__ import annotations

import pytest
from sessions import Client, Kind


@pytest.mark.parametrize(
    "code",
    [
        "import threading\ndef nested():\n    th = threading.Thread(target=lambda: print('mine'))\n"
        "    th.start()\n    th.join()\n"
        "th = threading.Thread(target=nested)\nth.start()\nth.join()",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(2) as pool:\n"
        "    list(pool.map(print, ['mine']))",
        "import asyncio\nasync def say():\n    await asyncio.sleep(0.01)\n    print('mine')\n"
        "await asyncio.gather(asyncio.create_task(say()))",
        "import asyncio\nawait asyncio.to_thread(print, 'mine')",
        "import asyncio\nasync def say(): print('mine')\nasyncio.run(say())",
    ],
    ids=["threads", "pool", "task", "to_thread", "asyncio.run"],
)
def test_what_a_cell_starts_prints_to_it(client: Client, code: str) -> None:
    assert client.ok(code).text() == "mine\n"


def test_a_task_prints_to_its_cell_while_others_run_and_after_it(client: Client, fresh: str) -> None:
    first = client.ok(
        f"import asyncio\ngo_{fresh}, said_{fresh} = asyncio.Event(), asyncio.Event()\nasync def say():\n    print('early')\n"
        f"    await go_{fresh}.wait()\n    print('late')\n    said_{fresh}.set()\n"
        f"task_{fresh} = asyncio.get_running_loop().create_task(say())"
    )
    second = client.ok(f"go_{fresh}.set()\nawait said_{fresh}.wait()\nprint('second')")
    client.wait_for_text(first, "late")
    assert (first.text(), second.text()) == ("early\nlate\n", "second\n")


def test_a_pool_of_an_earlier_cell_prints_to_the_cell_that_its_thread_is_from(client: Client, fresh: str) -> None:
    """As in ipykernel: a thread belongs to the cell that started it."""
    first = client.ok(
        f"from concurrent.futures import ThreadPoolExecutor\npool_{fresh} = ThreadPoolExecutor(1)\n"
        f"pool_{fresh}.submit(print, 'one').result()"
    )
    second = client.ok(f"pool_{fresh}.submit(print, 'two').result()")
    client.wait_for_text(first, "two")
    assert (first.text(), second.text()) == ("one\ntwo\n", "")
    client.ok(f"pool_{fresh}.shutdown()")


LISTENERS = {
    "function": "handle_{0} = listen(ticking_{0}, on_tick_{0})",
    "merged": "handle_{0} = merged_listen([ticking_{0}, other_{0}], on_both_{0})",
    "builtin": "from functools import partial\nhandle_{0} = listen(ticking_{0}, partial(on_any_{0}, 'tick'))",
}


@pytest.mark.parametrize("register", LISTENERS.values(), ids=list(LISTENERS))
def test_a_listener_prints_to_the_cell_that_registered_it(client: Client, fresh: str, register: str) -> None:
    """On the update graph's thread, also when another cell has defined the function, and others have run since."""
    defined = client.ok(
        f"from deephaven import time_table\nfrom deephaven.table_listener import listen, merged_listen\n"
        f"ticking_{fresh}, other_{fresh} = time_table('PT0.1S'), time_table('PT0.1S')\n"
        f"def on_tick_{fresh}(update, is_replay): print('tick')\ndef on_both_{fresh}(updates, is_replay): print('tick')\n"
        f"def on_any_{fresh}(text, update, is_replay): print(text)",
        show_tables=False,
    )
    registered = client.ok(register.format(fresh), show_tables=False)
    other = client.ok("print('other')")
    client.wait(lambda: registered.text().count("tick") > 2, "the listener's text")
    client.ok(f"handle_{fresh}.stop()")
    assert (defined.text(), other.text()) == ("", "other\n")
    client.ok(f"del ticking_{fresh}, other_{fresh}")


def test_a_formula_prints_to_the_cell_of_its_function(client: Client, fresh: str) -> None:
    """The engine calls it on threads of its own."""
    defined = client.ok(
        f"from deephaven import empty_table, time_table\ndef say_{fresh}(n) -> int:\n    print('row', n)\n    return n",
        show_tables=False,
    )
    made = client.ok(f"made_{fresh} = empty_table(3).update('X = say_{fresh}(i)')", show_tables=False)
    for row in range(3):
        client.wait(lambda row=row: f"row {row}\n" in defined.text() + made.text(), "the formula's text")  # type: ignore[misc]
    client.ok(f"del made_{fresh}")


@pytest.mark.long
def test_listeners_of_two_sessions_never_mix(kind: Kind, fresh: str) -> None:
    one, two = kind.open(), kind.open()
    runs = {}
    for client, name in ((one, "one"), (two, "two")):
        runs[name] = client.ok(
            f"from deephaven import time_table\nfrom deephaven.table_listener import listen\n"
            f"table_{name}_{fresh} = time_table('PT0.05S')\n"
            f"handle_{name}_{fresh} = listen(table_{name}_{fresh}, lambda update, is_replay: print({name!r}))",
            show_tables=False,
        )
    for client, name in ((one, "one"), (two, "two")):
        client.wait(lambda name=name: runs[name].text().count(name) > 5, "the listener's text")  # type: ignore[misc]
        assert set(runs[name].text().split()) == {name}
    for client, name in ((one, "one"), (two, "two")):
        client.ok(f"handle_{name}_{fresh}.stop()\ndel table_{name}_{fresh}")
        client.close()


def test_lanes_run_side_by_side_and_end_with_their_subshell(client: Client) -> None:
    client.ok("import threading\nmeet = threading.Barrier(2)")
    there = client.send("print('there', meet.wait(20) >= 0)", lane="side")
    here = client.ok("print('here', meet.wait(20) >= 0)")
    assert (client.finish(there).text(), here.text()) == ("there True\n", "here True\n")
    busy = client.send("print('begun')\nimport time\ntime.sleep(600)", lane="side")
    client.wait_for_text(busy, "begun")
    client.interrupt(busy)
    assert client.finish(busy, 5).error["ename"] == "KeyboardInterrupt"
    assert client.ok("1 + 1", lane="side").result == "2"
    client.ask("close_lane", lane="side")
    names = client.value("[t.name for t in threading.enumerate() if t.name.endswith('-side')]")
    assert names == "[]"


def test_two_lanes_in_a_flood_while_the_kernel_takes_nothing_can_be_interrupted(client: Client) -> None:
    """Both wait for the same room, and are struck as they wait."""
    client.hold()
    runs = [client.send("while True: print('x' * 1000)", lane=lane) for lane in ("left", "right")]
    client.wait(lambda: client.received_bytes > 1 << 20, "the first output")
    client.settled_bytes()
    for run in runs:
        client.interrupt(run)
    client.settled_bytes()
    client.release()
    for run in runs:
        assert client.finish(run, 20).error["ename"] == "KeyboardInterrupt"
    assert client.value("6 * 7") == "42"
