"""The debugger as JupyterLab and VS Code drive it: `debug_request` on the control channel, `debug_event` on IOPub.

The order of the requests is JupyterLab's. Timed is nothing: every wait is for a message.
"""

from __future__ import annotations

import itertools
import queue
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest
from harness import LAUNCHED, TIMEOUT_S, Kernel, Place, Run, is_gone, started, wait_until
from jupyter_client.blocking.client import BlockingKernelClient

pytestmark = pytest.mark.long

FUNCTION = "def double(a):\n    b = a * 2\n    return b\n"
SPEED = (
    "def step(n):\n    return n + 1\n\nimport sys as _sys, time as _time\n_began = _time.perf_counter()\n"
    "for _n in range(200_000): step(_n)\nprint(_time.perf_counter() - _began, _sys.gettrace())"
)


class Client:
    """One front end's debugger on a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self._numbers = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    def send(self, command: str, **arguments: Any) -> str:
        """Send a request; the message's id."""
        content = {"type": "request", "seq": next(self._numbers), "command": command, "arguments": arguments}
        message = self.kernel.client.session.msg("debug_request", content)
        self.kernel.client.control_channel.send(message)
        return str(message["header"]["msg_id"])

    def answer(self, msg_id: str) -> dict[str, Any]:
        """The response to a request."""
        while True:
            reply = self.kernel.client.get_control_msg(timeout=TIMEOUT_S)
            if reply["parent_header"].get("msg_id") == msg_id:
                assert reply["msg_type"] == "debug_reply"
                return dict(reply["content"])

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Send a request that must succeed; the body of its response."""
        response = self.answer(self.send(command, **arguments))
        assert response["success"], response
        assert (response["type"], response["command"]) == ("response", command)
        return dict(response.get("body") or {})

    def refused(self, command: str, **arguments: Any) -> str:
        """Send a request that must fail; why it did."""
        response = self.answer(self.send(command, **arguments))
        assert not response["success"], response
        return str(response["message"])

    def begin(self) -> None:
        """Attach, as both front ends do."""
        self.ask("initialize", clientID="test", adapterID="", linesStartAt1=True, columnsStartAt1=True)
        self.ask("attach")
        self.ask("configurationDone")

    def end(self) -> None:
        """Detach, and forget what was said."""
        self.ask("disconnect", restart=False, terminateDebuggee=True)
        self.event("terminated")
        self.events.clear()

    def stop_at(self, code: str, *lines: int | dict[str, Any]) -> str:
        """Set the breakpoints of a cell; its file."""
        path = str(self.ask("dumpCell", code=code)["sourcePath"])
        points = [line if isinstance(line, dict) else {"line": line} for line in lines]
        placed = self.ask("setBreakpoints", source={"path": path}, breakpoints=points, sourceModified=False)["breakpoints"]
        assert all(point["verified"] for point in placed), placed
        return path

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event; what came before it stays in `events`."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            self.take(deadline)

    def take(self, deadline: float) -> None:
        """Take one of iopub's messages."""
        try:
            message = self.kernel.client.get_iopub_msg(timeout=max(deadline - time.monotonic(), 0.001))
        except queue.Empty:
            raise AssertionError(f"nothing more came; the events so far: {self.events}") from None
        if message["msg_type"] == "debug_event":
            self.events.append(message["content"])
        else:
            self.kernel._file(message)

    def stopped(self) -> tuple[int, list[tuple[str, int]]]:
        """Wait for a stop: the thread, and the names and lines of its frames."""
        thread = self.event("stopped")["body"]["threadId"]
        return thread, self.stack(thread)

    def frames(self, thread: int = 1) -> list[dict[str, Any]]:
        """The frames of a thread that is stopped."""
        return list(self.ask("stackTrace", threadId=thread)["stackFrames"])

    def stack(self, thread: int = 1) -> list[tuple[str, int]]:
        """The names and lines of these frames."""
        return [(frame["name"], frame["line"]) for frame in self.frames(thread)]

    def variables(self, thread: int = 1) -> dict[str, str]:
        """The local variables of the topmost frame."""
        scopes = self.ask("scopes", frameId=self.frames(thread)[0]["id"])["scopes"]
        found = self.ask("variables", variablesReference=scopes[0]["variablesReference"])["variables"]
        return {variable["name"]: variable["value"] for variable in found}

    def evaluate(self, expression: str) -> str:
        """The value of an expression in the topmost frame."""
        answer = self.ask("evaluate", expression=expression, frameId=self.frames()[0]["id"], context="watch")
        return str(answer["result"])

    def resume(self, run: Run) -> Run:
        """Let a cell go on, to its end."""
        self.ask("continue", threadId=1)
        return self.finish(run)

    def finish(self, run: Run) -> Run:
        """Wait for a cell's end."""
        deadline = time.monotonic() + TIMEOUT_S
        while not run.idle:
            self.take(deadline)
        return self.kernel.finish(run)


@pytest.fixture
def client(launched_kernel: Kernel) -> Iterator[Client]:
    """A front end that debugs; detached at the end."""
    client = Client(launched_kernel)
    client.begin()
    yield client
    client.end()


def test_it_is_announced_where_there_is_one(launched_kernel: Kernel, attached_kernel: Kernel) -> None:
    launched, attached = (
        kernel.answer(kernel.client.kernel_info())["content"] for kernel in (launched_kernel, attached_kernel)
    )
    assert "debugger" in launched["supported_features"]
    assert "debugger" not in attached["supported_features"]


def test_an_attached_server_says_why_not(attached_kernel: Kernel) -> None:
    client = Client(attached_kernel)
    for command in ("debugInfo", "initialize", "attach", "inspectVariables", "dumpCell", "stackTrace"):
        assert client.refused(command)
    assert "launched" in client.refused("initialize")
    assert attached_kernel.ok("print('goes on')").text() == "goes on\n"


def test_nothing_of_it_is_there_until_it_is_asked_for(place: Place) -> None:
    """No import, no tracing, no file."""
    with started(place, LAUNCHED) as kernel:
        info = Client(kernel).ask("debugInfo")
        seen = kernel.ok(
            "import os, sys, threading\nprint([name for name in ('debugpy', 'pydevd') if name in sys.modules], sys.gettrace(),"
            f" threading.gettrace(), os.path.exists({info['tmpFilePrefix']!r}))"
        )
    assert info["isStarted"] is False
    assert seen.text() == "[] None None False\n"


def test_a_request_before_the_first_one_is_refused(launched_kernel: Kernel) -> None:
    assert "initialize" in Client(launched_kernel).refused("stackTrace", threadId=1)


def test_names_of_files_are_those_that_front_ends_compute(client: Client) -> None:
    """The front end sets a breakpoint in the file that it computes from a cell's source."""
    info = client.ask("debugInfo")
    assert (info["isStarted"], info["hashMethod"], info["hashSeed"]) == (True, "Murmur2", 0xC70F6907)
    assert info["richRendering"] is info["copyToGlobals"] is True
    path = client.ask("dumpCell", code="x = 1\nprint(x)")["sourcePath"]
    assert path == f"{info['tmpFilePrefix']}4252719672{info['tmpFileSuffix']}"
    assert client.ask("source", source={"path": path})["content"].rstrip("\n") == "x = 1\nprint(x)"
    assert client.kernel.ok("x = 1\nprint(x)").text() == "1\n"


def test_a_traceback_names_the_cell_all_the_same(launched_kernel: Kernel) -> None:
    run = launched_kernel.run("def fails():\n    return 1 / 0\nfails()")
    text = "\n".join(run.error["traceback"])
    assert ".py" not in text
    for part in ("In[", "line 2", "line 3"):
        assert part in text


def test_the_sequence_of_jupyterlab(client: Client) -> None:
    """Stop in a cell and in a function of an earlier one, look, step, and go on."""
    kernel = client.kernel
    kernel.ok(FUNCTION)
    code = "x = 1\ny = double(x)\nprint('y is', y)\nz = 3\n"
    client.stop_at(FUNCTION, 3)
    path = client.stop_at(code, 2)
    assert {"source": path, "breakpoints": [{"line": 2}]} in client.ask("debugInfo")["breakpoints"]
    run = kernel.send(code)
    assert client.stopped() == (1, [("<module>", 2)])
    assert client.ask("debugInfo")["stoppedThreads"] == [1]
    assert client.variables()["x"] == "1"
    client.ask("next", threadId=1)
    assert client.stopped()[1] == [("double", 3), ("<module>", 2)]
    assert client.variables() == {"a": "1", "b": "2"}
    client.ask("stepOut", threadId=1)
    assert client.stopped()[1] == [("<module>", 2)]
    client.ask("next", threadId=1)
    assert client.stopped()[1] == [("<module>", 3)]
    client.ask("next", threadId=1)
    assert client.stopped()[1] == [("<module>", 4)]
    assert client.evaluate("y + 40") == "42"
    client.resume(run)
    client.event("continued")
    assert run.reply["status"] == "ok"
    assert run.text() == "y is 2\n"
    assert client.ask("debugInfo")["stoppedThreads"] == []


def test_stepping_into_a_function(client: Client) -> None:
    client.kernel.ok(FUNCTION)
    code = "x = 5\ny = double(x)\n"
    client.stop_at(code, 2)
    run = client.kernel.send(code)
    client.stopped()
    client.ask("stepIn", threadId=1)
    assert client.stopped()[1] == [("double", 2), ("<module>", 2)]
    assert client.resume(run).reply["status"] == "ok"


def test_conditions_and_log_points(client: Client) -> None:
    code = "for k in range(10):\n    square = k * k\n    last = square\n"
    client.stop_at(code, {"line": 3, "condition": "k == 7"}, {"line": 2, "logMessage": "k is {k}"})
    run = client.kernel.send(code)
    client.stopped()
    assert client.evaluate("k") == "7"
    client.resume(run)
    said = [client.event("output")["body"]["output"] for _ in range(10)]
    assert said == [f"k is {k}\n" for k in range(10)]


def test_exceptions(client: Client) -> None:
    client.ask("setExceptionBreakpoints", filters=["raised"])
    run = client.kernel.send(
        "def fails(v):\n    return v / 0\ntry:\n    fails(41)\nexcept ZeroDivisionError:\n    caught = True\n"
    )
    _, stack = client.stopped()
    assert stack == [("fails", 2), ("<module>", 4)]
    assert client.variables()["v"] == "41"
    assert client.ask("exceptionInfo", threadId=1)["exceptionId"] == "ZeroDivisionError"
    client.ask("setExceptionBreakpoints", filters=[])
    assert client.resume(run).reply["status"] == "ok"


def test_lines_count_as_in_the_source(client: Client) -> None:
    """IPython drops empty lines at a cell's start, but not while somebody debugs."""
    code = "\n\n\nfirst = 1\nsecond = 2\n"
    client.stop_at(code, 5)
    run = client.kernel.send(code)
    assert client.stopped()[1] == [("<module>", 5)]
    assert client.resume(run).reply["status"] == "ok"


def test_a_cell_that_awaits(client: Client) -> None:
    code = "import asyncio\nawait asyncio.sleep(0)\nafter = 3\nlast = after\n"
    client.stop_at(code, 4)
    run = client.kernel.send(code)
    assert client.stopped()[1] == [("<module>", 4)]
    assert client.resume(run).reply["status"] == "ok"


def test_a_thread_of_the_cell(client: Client) -> None:
    """Also for JupyterLab, which only ever asks for thread 1."""
    code = (
        "import threading\ndef work():\n    u = 7\n    return u\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\n"
    )
    client.stop_at(code, 4)
    run = client.kernel.send(code)
    thread, stack = client.stopped()
    assert thread != 1
    assert stack[0] == ("work", 4)
    names = {found["id"]: found["name"] for found in client.ask("threads")["threads"]}
    assert "work" in names[thread]
    assert not [name for name in names.values() if name.startswith("dh-")]
    assert client.variables(thread) == {"u": "7"}
    assert client.resume(run).reply["status"] == "ok"


def test_a_function_that_a_formula_calls(client: Client) -> None:
    """Deephaven calls it on a thread of its own."""
    code = (
        "from deephaven import empty_table\n\ndef triple(i) -> int:\n    w = int(i) * 3\n    return w\n\n"
        "tripled = empty_table(3).update('X = triple(i)')\n"
    )
    client.stop_at(code, {"line": 5, "condition": "w == 6"})
    run = client.kernel.send(code)
    thread, stack = client.stopped()
    assert stack[0] == ("triple", 5)
    assert client.variables(thread)["w"] == "6"
    assert client.resume(run).reply["status"] == "ok"
    assert client.kernel.ok("tripled.to_string()").result is not None


def test_everything_else_goes_on_while_a_cell_is_stopped(client: Client) -> None:
    """Output, completion, inspection, other requests of the debugger; and a message of another thread."""
    kernel = client.kernel
    code = "value = [1, 2]\nprint('before the stop')\nvalue = 2\n"
    client.stop_at(code, 3)
    run = kernel.send(code)
    client.stopped()
    deadline = time.monotonic() + TIMEOUT_S
    while run.text() != "before the stop\n":
        client.take(deadline)
    assert "append" in kernel.answer(kernel.client.complete("value.ap", 8))["content"]["matches"]
    assert kernel.answer(kernel.client.inspect("value", 3))["content"]["found"]
    assert client.ask("modules")["totalModules"] > 100
    assert client.resume(run).reply["status"] == "ok"


def test_an_interrupt_ends_a_cell_that_is_stopped(client: Client) -> None:
    """Though the loop meets its breakpoint at every turn; and the next cell stops as before."""
    kernel = client.kernel
    code = "turns = 0\nwhile True:\n    turns += 1\n"
    client.stop_at(code, 3)
    run = kernel.send(code)
    client.stopped()
    kernel.interrupt()
    client.finish(run)
    assert run.reply["ename"] == "KeyboardInterrupt"
    assert "line 3" in "\n".join(run.error["traceback"])
    assert "pydevd" not in "\n".join(run.error["traceback"])
    assert run.text("stderr") == ""
    assert client.ask("debugInfo")["stoppedThreads"] == []
    client.events.clear()
    following = "one = 1\ntwo = 2\n"
    client.stop_at(following, 2)
    run = kernel.send(following)
    assert client.stopped()[1] == [("<module>", 2)]
    assert client.resume(run).reply["status"] == "ok"


def test_variables_while_nothing_is_stopped(client: Client) -> None:
    client.kernel.ok("answer = 42\nparts = {'one': [1, 2]}")
    found = {variable["name"]: variable for variable in client.ask("inspectVariables")["variables"]}
    assert (found["answer"]["value"], found["answer"]["type"]) == ("42", "int")
    assert not {"In", "Out", "get_ipython", "_", "_i", "exit"} & set(found)
    inside = client.ask("variables", variablesReference=found["parts"]["variablesReference"])["variables"]
    assert "'one'" in {variable["name"] for variable in inside}


def test_rich_views_of_variables(client: Client) -> None:
    """A table as its preview, stopped or not; other objects as their bundle."""
    kernel = client.kernel
    kernel.ok("from deephaven import empty_table\nseen = empty_table(7).update('Squares = i * i')\nnumber = 41")
    view = client.ask("richInspectVariables", variableName="seen")["data"]
    assert "7 rows" in view["text/plain"]
    assert "Squares" in view["text/html"]
    assert client.ask("richInspectVariables", variableName="number")["data"] == {"text/plain": "41"}
    code = "def inner():\n    local = seen.head(2)\n    return local\ninner()\n"
    client.stop_at(code, 3)
    run = kernel.send(code)
    client.stopped()
    frame = client.frames()[0]["id"]
    assert "2 rows" in client.ask("richInspectVariables", variableName="local", frameId=frame)["data"]["text/plain"]
    assert "absent" in client.refused("richInspectVariables", variableName="absent", frameId=frame)
    client.ask("copyToGlobals", srcVariableName="local", dstVariableName="copied", srcFrameId=frame)
    assert client.resume(run).reply["status"] == "ok"
    assert kernel.ok("print(copied.size)").text() == "2\n"


def test_the_end_of_debugging_lets_a_stopped_cell_go_on_and_traces_nothing(launched_kernel: Kernel) -> None:
    """And `terminate` ends nothing but the debugging."""
    kernel = launched_kernel
    kernel.ok("kept = 'here'")
    for command in ("disconnect", "terminate"):
        client = Client(kernel)
        client.begin()
        code = f"name = {command!r}\nlast = name\n"
        client.stop_at(code, 2)
        run = kernel.send(code)
        client.stopped()
        client.ask(command, terminateDebuggee=True)
        assert client.finish(run).reply["status"] == "ok"
        assert kernel.ok(SPEED).text().endswith(" None\n")
        assert (
            kernel.ok("from deephaven import empty_table\nempty_table(1).update('X = i')\n" + SPEED).text().endswith(" None\n")
        )
        assert kernel.ok("print(kept, last)").text() == f"here {command}\n"
        assert client.ask("debugInfo")["isStarted"] is False


def test_breakpoint_belongs_to_pdb_unless_somebody_debugs(launched_kernel: Kernel) -> None:
    kernel, client = launched_kernel, Client(launched_kernel)
    client.begin()
    run = kernel.send("here = 1\nbreakpoint()\nthere = 2\n")
    assert client.stopped()[1] == [("<module>", 2)]
    assert client.resume(run).reply["status"] == "ok"
    client.end()
    run = kernel.send("here = 3\nbreakpoint()\nthere = 4\n", allow_stdin=True)
    asked = kernel.client.get_stdin_msg(timeout=TIMEOUT_S)
    assert "db" in asked["content"]["prompt"]
    kernel.client.input("c")
    assert kernel.finish(run).reply["status"] == "ok"


@pytest.fixture
def other(launched_kernel: Kernel) -> Iterator[Client]:
    """A second front end, with a session of its own."""
    second = BlockingKernelClient()
    second.load_connection_info(launched_kernel.manager.get_connection_info())
    second.start_channels()
    second.wait_for_ready(timeout=TIMEOUT_S)
    yield Client(Kernel(launched_kernel.manager, second))
    second.stop_channels()


def test_two_front_ends_share_one_debugger(client: Client, other: Client) -> None:
    """Their requests have the same numbers; both see the events."""
    code = "shared = 1\nshared = 2\n"
    client.stop_at(code, 2)
    run = client.kernel.send(code)
    assert client.stopped() == (1, [("<module>", 2)])
    assert other.stopped() == (1, [("<module>", 2)])
    assert other.evaluate("shared") == client.evaluate("shared") == "1"
    other.ask("initialize", clientID="other", adapterID="")
    assert other.ask("debugInfo")["stoppedThreads"] == client.ask("debugInfo")["stoppedThreads"] == [1]
    other.ask("continue", threadId=1)
    other.event("continued")
    assert client.finish(run).reply["status"] == "ok"


def test_a_kernel_that_ends_while_stopped_leaves_nothing(place: Place) -> None:
    """Neither a process nor a file; and after a restart it can be debugged again."""
    with started(place, LAUNCHED) as kernel:
        client = Client(kernel)
        client.begin()
        code = "import os\npid = os.getpid()\nprint(pid)\nlast = 1\n"
        path = client.stop_at(code, 4)
        run = kernel.send(code)
        client.stopped()
        deadline = time.monotonic() + TIMEOUT_S
        while not run.text():
            client.take(deadline)
        kernel.manager.restart_kernel(now=False)
        kernel.client.wait_for_ready(timeout=TIMEOUT_S)
        wait_until(lambda: is_gone(int(run.text())), "the end of the former server")
        assert debugpy_processes() == []
        again = Client(kernel)
        assert again.ask("debugInfo")["isStarted"] is False
        again.begin()
        assert again.stop_at(code, 4) != path
        run = kernel.send(code)
        assert again.stopped()[1] == [("<module>", 4)]
        assert again.resume(run).reply["status"] == "ok"


def debugpy_processes() -> list[str]:
    """The adapters that debugpy starts, unless told otherwise."""
    done = subprocess.run(["ps", "-e", "-o", "args="], capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if "debugpy" in line and "adapter" in line]


def test_a_server_that_dies_ends_the_debugging(place: Place) -> None:
    with started(place, LAUNCHED) as kernel:
        client = Client(kernel)
        client.begin()
        code = "import os, signal\nwhere = os.getpid()\nos.kill(where, signal.SIGKILL)\n"
        client.stop_at(code, 3)
        run = kernel.send(code)
        client.stopped()
        client.send("continue", threadId=1)
        client.event("terminated")
        assert client.finish(run).reply["status"] == "error"
        assert kernel.ok("print('again')").text() == "again\n"
        assert client.ask("debugInfo")["isStarted"] is False
        client.begin()
