"""Comms and ipywidgets as front ends speak to them: as with ipykernel for the same messages, and what only ours meets."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from comparing import IPYKERNEL, add_ipykernel, sent
from harness import LAUNCHED, Kernel, Place, Run, is_gone, started, wait_until

pytestmark = pytest.mark.long

READY_TIMEOUT_S = 120.0
LARGE = 50_000_000
TARGET = """
import comm
def opened(c, message):
    print('opened', message['content']['data'], len(message['buffers']))
    @c.on_msg
    def got(message):
        print('got', message['content']['data'], [bytes(b) for b in message['buffers']])
        c.send({'echo': message['content']['data']}, metadata={'m': 1}, buffers=[b'abc', memoryview(b'def')])
    @c.on_close
    def closed(message): print('closed', message['content']['data'])
comm.get_comm_manager().register_target('echo', opened)
def fails(c, message): raise ValueError('no')
comm.get_comm_manager().register_target('fails', fails)
def opened_badly(c, message):
    @c.on_msg
    def got(message): raise ValueError('bad message')
comm.get_comm_manager().register_target('raises', opened_badly)
"""
WIDGETS = """
import ipywidgets as widgets
from IPython.display import display, clear_output
slider = widgets.IntSlider(description='s', max=10)
slider.observe(lambda change: print('value', change['new']), 'value')
button = widgets.Button(description='b')
button.on_click(lambda b: print('clicked'))
broken = widgets.Button()
broken.on_click(lambda b: 1 / 0)
out = widgets.Output()
def into_out(b):
    with out:
        print('in the callback')
        display('shown')
filling = widgets.Button()
filling.on_click(into_out)
@widgets.interact(x=(0, 10), y=['a', 'b'])
def f(x=3, y='a'): print('f', x, y)
print([w.model_id for w in (slider, button, broken, filling, f.widget.children[0])])
"""


@pytest.fixture(scope="module")
def pair(place: Place) -> Iterator[tuple[Kernel, Kernel]]:
    """A real ipykernel, and a kernel of ours."""
    add_ipykernel(place)
    with started(place, IPYKERNEL) as theirs, started(place, LAUNCHED) as ours:
        ours.ok("pass", READY_TIMEOUT_S)
        for kernel in (theirs, ours):
            kernel.ok(TARGET)
        yield theirs, ours


@pytest.fixture
def ours(pair: tuple[Kernel, Kernel]) -> Kernel:
    """Our kernel alone."""
    return pair[1]


def post(kernel: Kernel, kind: str, comm_id: str, *, subshell: str | None = None, buffers: Any = None, **content: Any) -> Run:
    """Send a comm message and return at once."""
    content = {"comm_id": comm_id, "data": {}, **content}
    return kernel.send_message(kind, content, subshell=subshell, buffers=buffers)


def settle(kernel: Kernel, run: Run) -> Run:
    """Wait until a comm message has been dealt with."""
    kernel.wait(lambda: run.idle, "the message's idle state")
    return run


def told(kernel: Kernel, kind: str, comm_id: str, **content: Any) -> Run:
    """Send a comm message and wait until it has been dealt with."""
    return settle(kernel, post(kernel, kind, comm_id, **content))


def open_comms(kernel: Kernel, **request: Any) -> dict[str, Any]:
    """What `comm_info_request` answers."""
    comms: dict[str, Any] = kernel.request("comm_info_request", request)["comms"]
    return comms


def update(kernel: Kernel, model: str, **state: Any) -> Run:
    """What a front end sends when a person moves a slider."""
    return told(kernel, "comm_msg", model, data={"method": "update", "state": state, "buffer_paths": []})


def click(kernel: Kernel, model: str) -> Run:
    """What a front end sends when a person clicks a button."""
    return told(kernel, "comm_msg", model, data={"method": "custom", "content": {"event": "click"}})


def models(kernel: Kernel, code: str = WIDGETS) -> list[str]:
    """The identifiers that a cell prints last."""
    found: list[str] = json.loads(kernel.ok(code).text().splitlines()[-1].replace("'", '"'))
    return found


# --- as ipykernel


CONVERSATION: list[tuple[str, str, dict[str, Any]]] = [
    ("comm_open", "one", {"target_name": "echo", "data": {"a": 1}}),
    ("comm_msg", "one", {"data": {"b": [1, None, "ß😀"]}, "buffers": [b"1", b"", b"\x00\xff"]}),
    ("comm_msg", "one", {"data": {}}),
    ("comm_open", "two", {"target_name": "echo", "buffers": [b"x"]}),
    ("comm_close", "one", {"data": {"bye": 1}}),
    ("comm_msg", "one", {"data": {"late": True}}),
    ("comm_close", "one", {}),
    ("comm_open", "three", {"target_name": "nobody"}),
    ("comm_msg", "unheard", {}),
    ("comm_close", "unheard", {}),
    ("comm_open", "four", {"target_name": "fails"}),
    ("comm_open", "five", {"target_name": "raises"}),
    ("comm_close", "two", {}),
    ("comm_close", "five", {}),
]


def test_a_conversation_goes_as_with_ipykernel(pair: tuple[Kernel, Kernel]) -> None:
    for kind, comm_id, content in CONVERSATION:
        theirs, ours = (told(kernel, kind, comm_id, **content) for kernel in pair)
        if "Traceback" in theirs.text("stderr"):  # through other frames, to the same end
            assert ours.text("stderr").splitlines()[-1] == theirs.text("stderr").splitlines()[-1]
            assert ours.contents("comm_close") == theirs.contents("comm_close")
        else:
            assert sorted(map(repr, sent(ours))) == sorted(map(repr, sent(theirs))), (kind, comm_id)
        assert ours.states == ["busy", "idle"]
    assert open_comms(pair[1]) == {}


def test_an_error_in_a_callback_is_told(pair: tuple[Kernel, Kernel]) -> None:
    for kernel in pair:
        told(kernel, "comm_open", "bad", target_name="raises")
    theirs, ours = (told(kernel, "comm_msg", "bad") for kernel in pair)
    assert "ValueError: bad message" in theirs.text("stderr")
    assert "ValueError: bad message" in ours.text("stderr")
    for kernel in pair:
        told(kernel, "comm_close", "bad")


CELLS = {
    "comm": """
import comm
c = comm.create_comm(target_name='front', data={'a': float('nan')}, metadata={'m': 1}, buffers=[b'12', bytearray(b'3')])
print(c.primary, c.target_name, c.kernel is not None)
c.send({'b': 2}); c.close({'c': 3}); c.close()
""",
    "numbers": """
import numpy as np
comm.create_comm(data={'i': np.int64(3), 'f': np.float32(.5), 't': (1, 2), 'b': b'xyz'}).close()
""",
    "thread": """
import threading
def work():
    c = comm.create_comm(target_name='thread'); c.send({'x': 1}); c.close()
t = threading.Thread(target=work); t.start(); t.join()
""",
    "task": """
import asyncio
async def work(): comm.create_comm(target_name='task').close()
await asyncio.gather(work(), work())
""",
    "slider": "import ipywidgets as widgets\nw = widgets.IntSlider(3); display(w); w.value = 5; w",
    "bytes": "w = widgets.Image(value=b'\\x00\\xff' * 10); w.value = b'new'; w.close()",
    "hold_sync": "w = widgets.IntRangeSlider()\nwith w.hold_sync(): w.value = (1, 2); w.max = 50",
    "output": """
out = widgets.Output()
display(out)
with out:
    print('in')
    display('shown')
    1/0
print('after')
@out.capture(clear_output=True)
def f(): print('captured'); return 5
f()
""",
    "output twice": """
out = widgets.Output()
with out:
    with out: print('inner')
    print('outer')
out.append_stdout('more'); out.clear_output(wait=True)
""",
    "interact": "widgets.interact(lambda x=2, s='a': print(x, s), x=(0, 4))",
    "interactive_output": """
a = widgets.IntText(1)
o = widgets.interactive_output(lambda a: print('a is', a), {'a': a}); a.value = 2
widgets.VBox([a, o])
""",
    "interact raises": "widgets.interact(lambda x=0: 1 / x)",
    "jslink": "a, b = widgets.IntSlider(), widgets.IntText()\nwidgets.jslink((a, 'value'), (b, 'value'))",
    "anywidget": """
import anywidget, traitlets
class W(anywidget.AnyWidget):
    _esm = 'export default {}'
    value = traitlets.Int(0).tag(sync=True)
w = W(); w.send({'hello': 1}, buffers=[b'abc']); w.value = 3; w
""",
    "showtraceback": """
try: 1/0
except ZeroDivisionError: get_ipython().showtraceback()
print('goes on')
""",
}


@pytest.mark.parametrize("code", CELLS.values(), ids=CELLS.keys())
def test_a_cell_sends_what_it_sends_in_ipykernel(pair: tuple[Kernel, Kernel], code: str) -> None:
    for kernel in pair:
        kernel.ok("import comm, ipywidgets as widgets")
    theirs, ours = (kernel.ok(code) for kernel in pair)
    assert sent(theirs), "the cell shows nothing in ipykernel"
    if any(kind == "stdout" for kind, *_ in sent(theirs)) and any(kind.startswith("comm_") for kind, *_ in sent(theirs)):
        # ipykernel's text may come behind the comm messages that it was written before; ours is in order
        assert sorted(map(repr, sent(ours))) == sorted(map(repr, sent(theirs)))
    else:
        assert sent(ours) == sent(theirs)


def test_widgets_answer_as_in_ipykernel(pair: tuple[Kernel, Kernel]) -> None:
    ids = [models(kernel) for kernel in pair]
    for number, act in enumerate((update, click, click, click, update)):
        state = {"value": 7} if act is update else {}
        theirs, ours = (act(kernel, found[number], **state) for kernel, found in zip(pair, ids, strict=True))
        assert sorted(map(repr, sent(ours))) == sorted(map(repr, sent(theirs)))
        assert ours.states == ["busy", "idle"]
        if number == 2:
            assert ours.error["ename"] == "ZeroDivisionError"
        else:
            assert ours.messages


def test_the_state_of_all_widgets_comes_back_after_a_reload(pair: tuple[Kernel, Kernel]) -> None:
    """A front end that was opened anew asks for the comms, and for all states by a comm of its own."""
    counts = []
    for kernel in pair:
        model = models(kernel)[0]
        update(kernel, model, value=4)
        assert open_comms(kernel, target_name="jupyter.widget")[model] == {"target_name": "jupyter.widget"}
        assert open_comms(kernel, target_name="other") == {}
        opened = kernel.send_message(
            "comm_open",
            {"comm_id": "control", "target_name": "jupyter.widget.control", "data": {}},
            metadata={"version": "1.0.0"},
        )
        assert settle(kernel, opened).contents("comm_close") == []
        answer = told(kernel, "comm_msg", "control", data={"method": "request_states"}).contents("comm_msg")[0]["data"]
        assert answer["method"] == "update_states"
        assert answer["states"][model]["state"]["value"] == 4
        counts.append(len(answer["states"]))
        single = told(kernel, "comm_msg", model, data={"method": "request_state"}).contents("comm_msg")[0]["data"]
        assert single["state"]["value"] == 4
        told(kernel, "comm_close", "control")
    assert min(counts) > 10


# --- while a cell runs


def test_a_message_on_a_subshell_is_handled_while_a_cell_runs(ours: Kernel) -> None:
    """ipykernel has it wait where the main shell was the last to send on the comm; here it waits only for who awaits it."""
    slider = models(ours)[0]
    subshell = ours.control("create_subshell_request")["subshell_id"]
    code = "import threading\ngo = threading.Event()\nslider.observe(lambda change: go.set(), 'value')\nprint('waits')"
    cell = ours.send(f"{code}\nprint(go.wait(60))")
    ours.wait(lambda: "waits" in cell.text(), "the cell's start")
    moved = post(
        ours, "comm_msg", slider, subshell=subshell, data={"method": "update", "state": {"value": 9}, "buffer_paths": []}
    )
    ours.finish(cell)
    settle(ours, moved)
    assert cell.text() == "waits\nTrue\n"
    assert moved.text() == "value 9\n"
    assert [state for state in cell.states if state != "busy"] == ["idle"]
    ours.control("delete_subshell_request", {"subshell_id": subshell})


@pytest.mark.parametrize("by_subshell", [False, True])
def test_a_cell_that_awaits_gets_the_answer_on_its_loop(ours: Kernel, by_subshell: bool) -> None:
    (model,) = models(ours, "import ipywidgets as widgets\nasking = widgets.Button()\nprint([asking.model_id])")
    subshell = ours.control("create_subshell_request")["subshell_id"] if by_subshell else None
    cell = ours.send(
        "import asyncio\nanswer = asyncio.get_running_loop().create_future()\n"
        "asking.on_msg(lambda widget, content, buffers: answer.done() or answer.set_result(content))\n"
        "asking.send({'question': 1})\nprint('asked')\nprint(await answer)"
    )
    ours.wait(lambda: "asked" in cell.text(), "the question")
    settle(ours, post(ours, "comm_msg", model, subshell=subshell, data={"method": "custom", "content": {"is": 42}}))
    assert ours.finish(cell).text() == "asked\n{'is': 42}\n"
    if subshell:
        ours.control("delete_subshell_request", {"subshell_id": subshell})


def test_a_comm_is_opened_behind_the_cell_that_registers_its_target(ours: Kernel) -> None:
    first = ours.send("import time; time.sleep(0.5)")
    second = ours.send("import comm; comm.get_comm_manager().register_target('later', lambda c, m: c.send({'welcome': 1}))")
    opened = post(ours, "comm_open", "later", target_name="later")
    message = post(ours, "comm_msg", "later")
    for run in (first, second):
        assert ours.finish(run).reply["status"] == "ok"
    settle(ours, message)
    assert [content["data"] for content in settle(ours, opened).contents("comm_msg")] == [{"welcome": 1}]
    assert message.text("stderr") == ""
    told(ours, "comm_close", "later")


@pytest.mark.parametrize("busy", [False, True])
def test_a_burst_of_messages_keeps_its_order(ours: Kernel, busy: bool) -> None:
    ours.ok(
        "import comm\nseen = []\ndef opened(c, m): c.on_msg(lambda m: seen.append(m['content']['data']['n']))\n"
        "comm.get_comm_manager().register_target('count', opened)"
    )
    cell = ours.send("import time; time.sleep(0.5)") if busy else None
    runs = [post(ours, "comm_open", "count", target_name="count")]
    runs += [post(ours, "comm_msg", "count", data={"n": n}) for n in range(1000)]
    ours.wait(lambda: all(run.idle for run in runs), "the end of the burst")
    if cell is not None:
        ours.finish(cell)
    assert ours.ok("seen == list(range(1000)), len(seen)").result == {"text/plain": "(True, 1000)"}
    assert all(run.states == ["busy", "idle"] for run in runs)
    told(ours, "comm_close", "count")


def test_large_messages_go_both_ways(ours: Kernel) -> None:
    ours.ok(
        "import comm, hashlib\ndef opened(c, m):\n    @c.on_msg\n    def got(m):\n"
        "        whole = m['buffers'][0]\n"
        "        c.send({'length': len(whole), 'text': m['content']['data']['text']}, buffers=[whole, b'end'])\n"
        "comm.get_comm_manager().register_target('large', opened)"
    )
    told(ours, "comm_open", "large", target_name="large")
    data, text = os.urandom(LARGE), "x" * 20_000_000
    run = told(ours, "comm_msg", "large", data={"text": text}, buffers=[data])
    (message,) = run.messages
    assert message["content"]["data"] == {"length": LARGE, "text": text}
    assert [bytes(buffer) for buffer in message["buffers"]] == [data, b"end"]
    told(ours, "comm_close", "large")


def test_a_callback_can_be_interrupted_and_cannot_ask(ours: Kernel) -> None:
    ours.ok(
        """
import comm, time
def opened(c, m):
    @c.on_msg
    def got(m):
        if m['content']['data'].get('ask'): input('?')
        print('sleeps')
        time.sleep(60)
comm.get_comm_manager().register_target('slow', opened)
"""
    )
    told(ours, "comm_open", "slow", target_name="slow")
    asked = told(ours, "comm_msg", "slow", data={"ask": True})
    assert "StdinNotImplementedError" in asked.text("stderr")
    run = post(ours, "comm_msg", "slow")
    ours.wait(lambda: "sleeps" in run.text(), "the callback")
    ours.interrupt()
    settle(ours, run)
    assert ours.ok("'still here'").result == {"text/plain": "'still here'"}
    told(ours, "comm_close", "slow")


def test_an_interrupt_of_a_cell_loses_no_message(ours: Kernel) -> None:
    slider = models(ours)[0]
    cell = ours.send("import time; print('runs'); time.sleep(60)")
    ours.wait(lambda: "runs" in cell.text(), "the cell's start")
    moved = post(ours, "comm_msg", slider, data={"method": "update", "state": {"value": 8}, "buffer_paths": []})
    ours.wait(lambda: moved.states == ["busy"], "the message's start")
    ours.interrupt()
    assert ours.finish(cell).error["ename"] == "KeyboardInterrupt"
    assert settle(ours, moved).text() == "value 8\n"


# --- without a server, without the package


def test_without_the_package_front_ends_are_answered_and_nothing_shows(attached_kernel: Kernel) -> None:
    opened = told(attached_kernel, "comm_open", "x", target_name="jupyter.widget.control")
    assert opened.kinds == ["comm_close"]
    assert opened.contents("comm_close") == [{"comm_id": "x", "data": {}}]
    assert opened.states == ["busy", "idle"]
    for kind in ("comm_msg", "comm_close"):
        run = told(attached_kernel, kind, "x")
        assert (run.kinds, run.states) == ([], ["busy", "idle"])
    assert open_comms(attached_kernel) == {}


def test_before_there_is_a_server_and_after_it_has_died(place: Place) -> None:
    """A message to a comm waits for the first server; it does not start another one, and what a dead one had is gone."""
    with started(place, LAUNCHED) as kernel:
        early = post(kernel, "comm_open", "early", target_name="nobody")
        ignored = post(kernel, "comm_msg", "early")
        assert open_comms(kernel) == {}
        assert settle(kernel, early).contents("comm_close") == [{"comm_id": "early", "data": {}}]
        assert settle(kernel, ignored).contents("comm_close") == []
        slider = models(kernel)[0]
        server = int(kernel.ok("import os; print(os.getpid())", READY_TIMEOUT_S).text())
        os.kill(server, signal.SIGKILL)
        wait_until(lambda: is_gone(server), "the server's end")
        wait_until(lambda: told(kernel, "comm_msg", slider).messages == [], "the kernel knows of the server's end")
        for kind in ("comm_msg", "comm_close"):
            assert told(kernel, kind, slider, data={"method": "update", "state": {"value": 1}}).messages == []
        closed = told(kernel, "comm_open", "late", target_name="jupyter.widget.control")
        assert closed.kinds == ["comm_close"]
        assert open_comms(kernel) == {}
        children = [
            child for child in psutil.Process(kernel.pid).children(recursive=True) if "java" in " ".join(child.cmdline())
        ]
        assert children == []
        after = kernel.ok("import os; print(os.getpid())", READY_TIMEOUT_S)
        assert "SIGKILL" in after.text("stderr")
        assert int(after.text()) != server
        assert f"No such comm: {slider}" in update(kernel, slider, value=2).text("stderr")
        assert update(kernel, models(kernel)[0], value=3).text() == "value 3\n"


def test_a_callback_that_ends_the_server_says_so(place: Place) -> None:
    with started(place, LAUNCHED) as kernel:
        kernel.ok(
            "import comm, os\ncomm.get_comm_manager().register_target('end', lambda c, m: os.kill(os.getpid(), 9))",
            READY_TIMEOUT_S,
        )
        run = told(kernel, "comm_open", "end", target_name="end")
        assert "SIGKILL" in run.text("stderr")
        assert "SIGKILL" in kernel.ok("1", READY_TIMEOUT_S).text("stderr")
