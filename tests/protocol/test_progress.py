"""Progress and rich output: the messages of a cell are those that ipykernel sends for it, whatever draws the bar."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from comparing import IPYKERNEL, add_ipykernel, sent
from harness import LAUNCHED, Kernel, Place, started

pytestmark = pytest.mark.long

READY_TIMEOUT_S = 120.0
SNIFFS = (
    "type(get_ipython()).__name__",
    "'IPKernelApp' in get_ipython().config",
    "'ipykernel.zmqshell' in __import__('sys').modules",
    "__import__('rich.console').console.Console().is_jupyter",
    "__import__('rich.console').console.Console().size",
    "__import__('rich.console').console.Console().color_system",
    "__import__('pandas.io.formats.console').io.formats.console.in_ipython_frontend()",
    "__import__('tqdm.autonotebook').autonotebook.tqdm.__module__",
    "__import__('tqdm.auto').auto.tqdm.__mro__[1].__module__",
    "isinstance(get_ipython(), __import__('sys').modules['ipykernel.zmqshell'].ZMQInteractiveShell)",
    "__import__('sys').stdout.isatty(), __import__('sys').stderr.isatty()",
    "__import__('shutil').get_terminal_size()",
    "__import__('os').environ.get('COLUMNS'), __import__('os').environ.get('FORCE_COLOR'), __import__('os').environ['TERM']",
    "__import__('matplotlib').get_backend()",
    "get_ipython().kernel.get_parent()['header']['msg_type']",
    "hasattr(get_ipython().kernel, 'comm_manager'), hasattr(get_ipython(), 'kernel')",
)
CELLS = {
    "tqdm": """
from tqdm import tqdm
for i in tqdm(range(3), mininterval=0, miniters=1): print(i)
""",
    "tqdm nested": """
from tqdm import trange
for i in trange(2, mininterval=0):
    for j in trange(2, leave=False, mininterval=0): pass
""",
    "tqdm write": """
from tqdm import tqdm
with tqdm(total=2, mininterval=0) as bar:
    tqdm.write('between'); bar.update()
""",
    "tqdm.auto": """
from tqdm.auto import tqdm
for i in tqdm(range(3), mininterval=0, miniters=1, desc='Auto'): pass
""",
    "tqdm.notebook": """
from tqdm.notebook import tqdm
try:
    for i in tqdm(range(3), mininterval=0):
        if i: raise ValueError('stop')
except ValueError as error: print(error)
""",
    "rich.print": """
import rich
rich.print('[bold red]red[/] and', {'a': [1, 2]}, 1.5)
""",
    "rich table": """
from rich.table import Table
from rich.console import Console
t = Table(title='T')
t.add_column('<a>')
t.add_row('1')
Console().print(t)
t
""",
    "rich.pretty": """
from rich.pretty import Pretty
Pretty([{'a': 1}, 'b'])
""",
    "rich.progress": """
from rich.progress import Progress
with Progress(auto_refresh=False) as progress:
    task = progress.add_task('Load', total=2)
    for i in range(2): progress.update(task, advance=1, refresh=True)
print('after')
""",
    "rich.progress transient": """
from rich.progress import Progress
with Progress(auto_refresh=False, transient=True) as progress:
    task = progress.add_task('Load', total=1); progress.console.print('above'); progress.update(task, advance=1, refresh=True)
""",
    "rich.live": """
from rich.live import Live
with Live('0', auto_refresh=False) as live:
    for i in range(3): live.update(str(i), refresh=True)
""",
    "clear_output": """
from IPython.display import clear_output
for i in range(3):
    clear_output(wait=True)
    print(i)
""",
    "clear_output at once": """
from IPython.display import clear_output, display
display(1); print(2); clear_output(); display(3)
""",
    "display_id": """
from IPython.display import display, update_display, DisplayHandle, HTML
h = display(HTML('<b>1</b>'), display_id=True)
h.update(HTML('<b>2</b>'))
display({'text/plain': 'raw'}, raw=True, display_id='mine', metadata={'text/plain': {'a': 1}})
update_display('three', display_id='mine', metadata={'b': 2})
d = DisplayHandle('his'); d.display('x'); d.update(5)
repr(h)
""",
    "ProgressBar": """
from IPython.display import ProgressBar
for i in ProgressBar(2): pass
""",
    "display nothing": """
from IPython.display import display
display(); display(None); display(1, 2)
""",
    "carriage returns": """
import sys
for i in range(3): print(f'\\r{i} of 2', end='', file=sys.stderr)
print('\\b\\x1b[2K done')
""",
    "log": """
import logging
logging.getLogger('x').warning('careful')
""",
}


@pytest.fixture(scope="module")
def pair(place: Place) -> Iterator[tuple[Kernel, Kernel]]:
    """A real ipykernel, and a kernel of ours."""
    add_ipykernel(place)
    environ = {"TERM": "dumb", "COLUMNS": "", "MPLCONFIGDIR": str(place.folder)}
    with started(place, IPYKERNEL, environ) as theirs, started(place, LAUNCHED, environ) as ours:
        ours.ok("pass", READY_TIMEOUT_S)
        yield theirs, ours


@pytest.mark.parametrize("code", CELLS.values(), ids=CELLS.keys())
def test_a_cell_sends_what_it_sends_in_ipykernel(pair: tuple[Kernel, Kernel], code: str) -> None:
    theirs, ours = (kernel.ok(code) for kernel in pair)
    assert sent(theirs), "the cell shows nothing in ipykernel"
    assert sent(ours) == sent(theirs)


@pytest.mark.parametrize("expression", SNIFFS)
def test_libraries_see_what_they_see_in_ipykernel(pair: tuple[Kernel, Kernel], expression: str) -> None:
    theirs, ours = (kernel.ok(expression).result for kernel in pair)
    assert ours == theirs


def test_a_comm_by_the_name_of_ipykernels_reaches_the_front_end(pair: tuple[Kernel, Kernel]) -> None:
    code = "from ipykernel.comm import Comm\nc = Comm('front', data={'a': 1})\nc.send({'b': 2}, buffers=[b'12'])\nc.close()"
    ours = [message for message in pair[1].ok(code).messages if message["msg_type"].startswith("comm_")]
    assert [message["msg_type"] for message in ours] == ["comm_open", "comm_msg", "comm_close"]
    assert ours[0]["content"]["target_name"] == "front"
    assert [bytes(buffer) for buffer in ours[1]["buffers"]] == [b"12"]


def test_importing_ipykernel_takes_the_comms_from_nobody(pair: tuple[Kernel, Kernel]) -> None:
    """`import ipykernel.ipkernel` puts functions of its own into the `comm` package."""
    ours = pair[1].ok("import ipykernel.kernelapp, comm\nc = comm.create_comm(target_name='still')")
    assert [m["content"]["target_name"] for m in ours.messages if m["msg_type"] == "comm_open"] == ["still"]


PLAIN_CELLS = {
    "clear_output": (
        "from dh_kernel.display import clear_output\nfor i in range(2):\n    clear_output(wait=True)\n    print(i)",
        [("clear_output", {"wait": True}), ("stdout", "0\n"), ("clear_output", {"wait": True}), ("stdout", "1\n")],
    ),
    "display_id": (
        "from dh_kernel.display import DisplayHandle, display, update_display\n"
        "h = display('one', display_id='i')\nh.update('two')\n"
        "update_display('three', display_id='i')\nd = DisplayHandle('j')\n"
        "d.display('four')\nd.update('five')\nisinstance(h, DisplayHandle)",
        [
            ("display_data", ("'one'", "i")),
            ("update_display_data", ("'two'", "i")),
            ("update_display_data", ("'three'", "i")),
            ("display_data", ("'four'", "j")),
            ("update_display_data", ("'five'", "j")),
            ("execute_result", ("True", None)),
        ],
    ),
    "carriage returns": (
        "import sys\nfor i in range(3): print(f'\\r{i} of 2', end='', file=sys.stderr)",
        [("stderr", "\r0 of 2\r1 of 2\r2 of 2")],
    ),
}


@pytest.mark.parametrize(("code", "wanted"), PLAIN_CELLS.values(), ids=PLAIN_CELLS.keys())
def test_our_own_functions_do_the_same_on_both_kinds_of_server(kernel: Kernel, code: str, wanted: list[Any]) -> None:
    found: list[Any] = []
    for message in kernel.ok(code).messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            text = found.pop()[1] if found and found[-1][0] == content["name"] else ""
            found.append((content["name"], text + content["text"]))
        elif kind == "clear_output":
            found.append((kind, content))
        elif kind != "execute_input":
            found.append((kind, (content["data"]["text/plain"], content.get("transient", {}).get("display_id"))))
    assert found == wanted
