"""What VS Code's Jupyter extension sends, in its order: when a notebook opens, for its variables view, and for completion.

Its helper code is written anew here, by what it needs of a kernel: hidden cells (`silent` false, `store_history` false,
`stop_on_error` false), functions that are defined, called and deleted in one cell, `%who_ls` assigned to a name,
`IPython.display` from a thread that goes on when the cell is over, `get_ipython().kernel.do_complete` for completion.
Source: microsoft/vscode-jupyter, `src/kernels/kernel.ts`, `src/kernels/helpers.ts`, `src/kernels/chat/generator.ts`,
`src/standalone/{variables,intellisense,api/kernels}/`, `pythonFiles/vscode_datascience_helpers/`, of July 2026.
"""

from __future__ import annotations

import itertools
import json
import textwrap
from typing import Any

import pytest
from harness import TIMEOUT_S, Kernel, Run

# Everything that runs at the start is one cell: the first line that fails takes the rest with it.
START = """
def __VSCODE_install():
    def call(function, callback, data=None):
        send(function, data, callback)

    def send(function, data, callback):
        import uuid
        import IPython.display as shown
        shown.display({"application/vnd.vscode.chat_message": data}, metadata={"id": str(uuid.uuid4())}, raw=True)

    import sys as __VSCODE_sys
    import IPython as __VSCODE_IPython
    chat = type(__VSCODE_IPython)("chat")
    chat.call_function = call
    __VSCODE_sys.modules["vscode"] = type(__VSCODE_IPython)("vscode")
    __VSCODE_sys.modules["vscode"].chat = chat
    del __VSCODE_sys
    del __VSCODE_IPython


__VSCODE_install()
del __VSCODE_install

__vsc_ipynb_file__ = "/home/someone/a notebook.ipynb"
%config Completer.use_jedi = False
"""
WIDGETS = """
try:
    import ipywidgets as _VSCODE_ipywidgets
    print("version:" + _VSCODE_ipywidgets.__version__)
    del _VSCODE_ipywidgets
except:
    pass
"""
# With the setting that themes plots, which is off by default.
PLOTS = """
try:
    import matplotlib
    %matplotlib inline
    _VSCode_defaultMatplotlib_Params = dict(matplotlib.rcParams)

    matplotlib.style.use('dark_background')
except:
    print('no matplotlib')
"""
# The interactive window sends this before everything else, if its own debugger is used.
INTERACTIVE_WINDOW = """
import types as _VSCODE_types
from IPython import get_ipython

if get_ipython() and get_ipython().run_cell and not globals().get("__VSCODE_wrapped"):
    get_ipython().run_cell = _VSCODE_types.MethodType(
        lambda self, *arguments, **options: type(self).run_cell(self, *arguments, **options), get_ipython()
    )
    __VSCODE_wrapped = True
"""
DESCRIBE = """
def _VSCODE_getVariable(what, debugging, *arguments):
    import builtins as _VSCODE_builtins
    import json as _VSCODE_json

    def described(value):
        kind = _VSCODE_builtins.type(value)
        shape = _VSCODE_builtins.getattr(value, "shape", None)
        return {
            "type": kind.__name__,
            "fullType": kind.__module__ + "." + kind.__qualname__,
            "shape": _VSCODE_builtins.str(shape) if _VSCODE_builtins.isinstance(shape, tuple) else "",
            "count": _VSCODE_builtins.len(value) if _VSCODE_builtins.hasattr(value, "__len__") else 0,
        }

    try:
        if what == "info":
            found = described(*arguments)
        else:
            found = [{"name": name, **described(globals()[name])} for name in arguments[0] if name in globals()]
        return _VSCODE_builtins.print(_VSCODE_json.dumps(found))
    finally:
        del _VSCODE_json
        del _VSCODE_builtins
"""
FORGET = """
try:
    del _VSCODE_getVariable
except:
    pass
"""
TYPES = (
    f"{DESCRIBE}\n\n_VSCODE_rwho_ls = %who_ls\n_VSCODE_getVariable('types', False, _VSCODE_rwho_ls)\n{FORGET}\n"
    "try:\n    del _VSCODE_rwho_ls\nexcept:\n    pass"
)
IN_BACKGROUND = """
def __jupyter_exec_background__():
    from IPython.display import display
    from threading import Thread
    from traceback import format_exc

    output = display({{"{mime}": ""}}, raw=True, display_id=True)

    def work():
{body}

    def run():
        try:
            output.update({{"{mime}.result": work()}}, raw=True)
        except Exception:
            output.update({{"{mime}.error": format_exc()}}, raw=True)

    Thread(target=run, daemon=True).start()


__jupyter_exec_background__()
del __jupyter_exec_background__
"""
VALUES = """
import json
from importlib.util import find_spec

def described(name):
    value = globals()[name]
    kind = type(value)
    interfaces = [f"{base.__module__}.{base.__qualname__}" for base in kind.__mro__]
    return {"name": name, "type": kind.__qualname__, "interfaces": interfaces, "value": repr(value)}

def children(value):
    names = [name for name in dir(value) if not name.startswith("__")]
    held = [(name, getattr(value, name)) for name in names if hasattr(value, name)]
    return [{"name": name, "value": repr(child)} for name, child in held if child is not None]
"""
CHILDREN = "return json.dumps(children(globals()['vs_table']))"
ALL_VALUES = (
    "variables= %who_ls\nreturn json.dumps([described(name) for name in variables if"
    " type(globals()[name]).__name__ not in ('module', 'function', 'method', 'class', 'type')])"
)
_numbers = itertools.count()


def hidden(kernel: Kernel, code: str, *, allow_stdin: bool = True) -> Run:
    """A cell that the person does not see; it must not fail."""
    return kernel.ok(code, silent=False, store_history=False, stop_on_error=False, allow_stdin=allow_stdin)


def printed(run: Run) -> Any:
    """What the extension makes of a helper's cell: it takes the first output, which must be text on stdout, for JSON."""
    assert run.kinds == ["execute_input", "stdout"], run.messages
    return json.loads(run.text())


def in_background(kernel: Kernel, body: str) -> Any:
    """The value that a function computes on a thread of the server: it comes as an update of a display, at any time."""
    mime = f"application/vnd.vscode.bg.execution.{next(_numbers)}"
    run = hidden(kernel, IN_BACKGROUND.format(mime=mime, body=textwrap.indent(body, "        ")), allow_stdin=False)
    kernel.wait(lambda: bool(run.contents("update_display_data")), "the value")
    assert run.kinds == ["execute_input", "display_data", "update_display_data"], run.messages
    [shown], [updated] = run.contents("display_data"), run.contents("update_display_data")
    assert shown["data"] == {mime: ""}
    assert shown["transient"]["display_id"] == updated["transient"]["display_id"]
    assert list(updated["data"]) == [f"{mime}.result"], updated["data"]
    return updated["data"][f"{mime}.result"]


def names_of(kernel: Kernel) -> set[str]:
    """The names that the person's code sees, but those with an underscore in front, which no view lists."""
    run = kernel.ok("print(*sorted(name for name in globals() if not name.startswith('_')))")
    return set(run.text().split())


@pytest.fixture(scope="module")
def filled(kernel: Kernel) -> Kernel:
    """A kernel with variables of several kinds, the tables among them shown once."""
    run = kernel.ok(
        "from deephaven import empty_table\n"
        "vs_number, vs_text, vs_list = 6, 'déjà', [1, 2, 3]\n"
        "vs_dict = {'a': vs_list}\n"
        "vs_table = empty_table(3).update('X = i')\n"
        "def vs_function(): pass"
    )
    assert len(run.bundles) == 1
    return kernel


# --- the start


def test_start_up_cells_neither_fail_nor_show(kernel: Kernel) -> None:
    """All of it in one cell, so a failure would leave the notebook's name unset and completion as it was."""
    info = kernel.answer(kernel.client.kernel_info())["content"]
    assert info["status"] == "ok"
    assert info["language_info"]["name"] == "python"  # the extension's Python features depend on it
    before, count = names_of(kernel), kernel.ok("1").reply["execution_count"]
    probe = hidden(kernel, WIDGETS)
    assert probe.text() == "" or probe.text().startswith("version:")
    assert set(probe.kinds) <= {"execute_input", "stdout"}
    assert hidden(kernel, START).kinds == ["execute_input"]
    assert kernel.answer(kernel.client.kernel_info())["content"]["status"] == "ok"
    assert kernel.answer(kernel.client.complete("__file__.", 9))["content"]["status"] == "ok"
    assert kernel.answer(kernel.client.comm_info(target_name="jupyter.widget"))["content"]["status"] == "ok"
    assert kernel.ok("__vsc_ipynb_file__").result == {"text/plain": "'/home/someone/a notebook.ipynb'"}
    assert names_of(kernel) == before
    assert kernel.ok("1").reply["execution_count"] == count + 3  # the cells that are not hidden


def test_start_up_with_themed_plots(kernel: Kernel) -> None:
    run = hidden(kernel, PLOTS)
    has_matplotlib = "_VSCode_defaultMatplotlib_Params" in kernel.ok("print(*globals())").text().split()
    assert run.text() == ("" if has_matplotlib else "no matplotlib\n")
    assert set(run.kinds) <= {"execute_input", "stdout"}


def test_interactive_window_wraps_the_shell(kernel: Kernel) -> None:
    assert hidden(kernel, INTERACTIVE_WINDOW).kinds == ["execute_input"]
    assert kernel.ok("6 * 7").result == {"text/plain": "42"}
    assert kernel.run("1 / 0").error["ename"] == "ZeroDivisionError"


def test_tables_of_hidden_cells_are_not_shown(filled: Kernel) -> None:
    """Commands that the person set for the start of every notebook run hidden, too."""
    assert hidden(filled, "vs_hidden = vs_table.where('X > 0')").kinds == ["execute_input"]
    assert hidden(filled, "del vs_hidden").kinds == ["execute_input"]


def test_hidden_cells_stay_out_of_history(filled: Kernel) -> None:
    assert hidden(filled, "'hidden marker'").result == {"text/plain": "'hidden marker'"}
    kept = filled.answer(filled.client.history(hist_access_type="tail", n=5))["content"]["history"]
    assert not any("hidden marker" in entry[2] for entry in kept)


def test_hidden_cells_that_fail_abort_nothing(filled: Kernel) -> None:
    failing = filled.send("1 / 0", silent=False, store_history=False, stop_on_error=False)
    after = filled.send("6 * 7")
    assert filled.finish(failing).reply["status"] == "error"
    assert filled.finish(after).result == {"text/plain": "42"}


# --- variables


def test_variables_are_listed_with_their_types(filled: Kernel) -> None:
    before, count = names_of(filled), filled.ok("1").reply["execution_count"]
    found = {variable["name"]: variable for variable in printed(hidden(filled, TYPES))}
    assert found["vs_number"]["type"] == "int"
    assert found["vs_text"]["type"] == "str"
    assert (found["vs_list"]["type"], found["vs_list"]["count"]) == ("list", 3)
    assert found["vs_table"]["fullType"] == "deephaven.table.Table"
    assert found["vs_function"]["type"] == "function"
    assert not any(name.startswith("_") for name in found)
    assert names_of(filled) == before
    assert filled.ok("1").reply["execution_count"] == count + 2


@pytest.mark.parametrize(("name", "kind"), [("vs_number", "int"), ("vs_dict", "dict"), ("vs_table", "Table")])
def test_one_variable(filled: Kernel, name: str, kind: str) -> None:
    code = f"{DESCRIBE}\n\n_VSCODE_getVariable('info', False, {name})\n\n{FORGET}"
    assert printed(hidden(filled, code))["type"] == kind


def test_values_come_from_a_thread_of_the_hidden_cell(filled: Kernel) -> None:
    found = {variable["name"]: variable for variable in json.loads(in_background(filled, VALUES + ALL_VALUES))}
    assert found["vs_number"]["value"] == "6"
    assert found["vs_text"]["value"] == "'déjà'"
    assert found["vs_table"]["value"].startswith("deephaven.table.Table(")
    assert "deephaven.table.Table" in found["vs_table"]["interfaces"]
    assert "vs_function" not in found
    assert filled.ok("vs_table").result is not None


def test_a_table_can_be_unfolded(filled: Kernel) -> None:
    children = {child["name"]: child["value"] for child in json.loads(in_background(filled, VALUES + CHILDREN))}
    assert children["size"] == "3"
    assert children["is_refreshing"] == "False"
    assert children["definition"].startswith("deephaven.table.TableDefinition(")


def test_data_viewer_reads_a_frame(filled: Kernel) -> None:
    """The grid for data frames; it needs pandas, which the server brings."""
    filled.ok("import pandas as pd\nvs_frame = pd.DataFrame({'A': [1, 2], 'B': ['x', None]})")
    code = (
        "def _VSCODE_getDataFrame(start, end, frame):\n    import pandas.io.json as _VSCODE_json\n"
        "    print(_VSCODE_json.to_json(None, frame.iloc[start:end], orient='split', date_format='iso'))\n"
        "_VSCODE_getDataFrame(0, 2, vs_frame)\ndel _VSCODE_getDataFrame"
    )
    assert printed(hidden(filled, code))["data"] == [[1, "x"], [2, None]]


# --- completion and the rest


def test_completion_asks_the_shell_of_a_hidden_cell(filled: Kernel) -> None:
    """For Python kernels the extension sends no complete_request: it calls the kernel that `get_ipython()` knows."""
    content = in_background(filled, 'return get_ipython().kernel.do_complete("vs_num", 6)')
    assert content["status"] == "ok"
    assert "vs_number" in content["matches"]
    assert (content["cursor_start"], content["cursor_end"]) == (0, 6)


def test_hover_inspects(filled: Kernel) -> None:
    content = filled.answer(filled.client.inspect("vs_number", 9))["content"]
    assert content["found"]
    assert "int" in content["data"]["text/plain"]


def test_interrupt_while_a_cell_runs(filled: Kernel) -> None:
    run = filled.send("print('begun')\nimport time\ntime.sleep(60)")
    filled.wait(lambda: run.text() == "begun\n", "the cell's begin")
    filled.interrupt()
    filled.finish(run, TIMEOUT_S / 2)
    assert run.error["ename"] == "KeyboardInterrupt"
