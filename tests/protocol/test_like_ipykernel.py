"""The same cells in a real ipykernel and here, on a launched server: the same messages, except for times and addresses.

What differs on purpose is not here: it is in `tests/protocol/README.md` and in the tests of `%dh`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from harness import LAUNCHED, Kernel, Place, Run, started

pytestmark = pytest.mark.long

READY_TIMEOUT_S = 120.0
_VARIES = [
    (re.compile(r"\x1b\[[0-9;?]*m"), ""),
    (re.compile(r"0x[0-9a-f]+|object at [0-9a-f]+"), "ADDRESS"),
    (re.compile(r"[0-9.]+ ?(?:ns|μs|us|ms|s|min)\b"), "TIME"),
    (re.compile(r"/\S*?/(?:ipykernel_\d+|cells)/\d+\.py"), "CELL"),
]

CELLS: dict[str, list[str]] = {
    "times": [
        "%time 1 + 1",
        "%%time\nx = 1\nx",
        "%timeit -n2 -r2 pass",
        "%%timeit -n2 -r2\npass",
        "%timeit -o -n1 -r1 pass",
        "%time",
        "%prun pass",
    ],
    "files": [
        "%%writefile s.py\nimport sys\nprint(sys.argv, __name__)\nscript_var = 5",
        "%run s.py a b",
        "script_var",
        "%run -i ./s.py",
        "%run nowhere.py",
        "%%writefile bad.py\ndef f():\n    1/0\nf()",
        "%run bad.py",
        "%load s.py",
        "%pfile nowhere_here",
        "%cat s.py",
        "%cd ..",
        "%cd -",
        "%cd /nosuchdir",
        "%env FOO=1",
        "%set_env BAR 2",
        "import os; os.environ['FOO'], os.environ['BAR']",
        "%ls s.py",
    ],
    "extensions": [
        "%%writefile ext1.py\ndef load_ipython_extension(ip):\n"
        "    ip.register_magic_function(lambda l: print('ext', l), 'line', 'extmagic')",
        "import sys; sys.path.insert(0, '.')\n%load_ext ext1\n%extmagic hi",
        "%load_ext nosuch_ext",
        "%%writefile mod2.py\nV = 1",
        "import mod2; mod2.V",
        "%load_ext autoreload\n%autoreload 2",
        "!echo 'V = 2222' > mod2.py; touch -d '+5 seconds' mod2.py",
        "mod2.V",
    ],
    "commands": [
        "!echo hi",
        "x = !echo a; echo b",
        "x",
        "x.n",
        "!exit 3",
        "_exit_code",
        "y = 3\n!echo {1 + 1} $y",
        "!!echo a",
        "%%bash\necho hi; echo err >&2",
        "%%bash\nexit 3",
        "%%bash --out o\necho a",
        "o",
        "%%script bash -c 'cat'\nabc",
        "%%script false --no-raise-error\nx",
        "%sx echo a",
        "%system echo a",
        "%pip --version",
        "%alias hw echo hello %l",
        "hw there",
    ],
    "history": [
        "a_1 = 5",
        "%history -n",
        "%hist -o",
        "%recall a_1",
        "%macro m 1",
        "m",
        "%save -f out.py 1",
        "%rerun 1",
        "_i",
        "In[-2]",
        "5",
        "_",
        "Out[max(Out)]",
        "__, ___",
        "_oh is Out",
        "%store",
        "st = 1\n%store st",
        "%who_ls",
        "%whos int",
        "%reset_selective -f ^a_1$",
        "%reset -f",
        "In[:2]",
        "sorted(n for n in globals() if not n.startswith('_'))",
    ],
    "capture": [
        "%%capture cap\nprint('x')\n5",
        "cap.stdout",
        "cap.show()",
        "%%html\n<b>x</b>",
        "%%javascript\n1",
        "%%latex\nx",
        "%%markdown\n*x*",
        "%%svg\n<svg/>",
    ],
    "configuration": [
        "%config InteractiveShell.ast_node_interactivity='all'",
        "1\n2",
        "%config InteractiveShell.ast_node_interactivity='last_expr'",
        "%xmode Plain",
        "1/0",
        "%xmode Context",
        "%precision 3",
        "3.14159",
        "%precision",
        "%autoawait",
        "%colors",
        "%pprint",
        "%pprint",
        "%doctest_mode",
        "1",
        "%doctest_mode",
        "%config NoSuch.x=1",
        "get_ipython().config.get('IPKernelApp') is not None",
        "type(get_ipython()).__name__",
    ],
    "help": ["len?", "len??", "?len", "%time?", "nosuch?", "str.upper?", "*int*?", "%psearch os.getc*", "%pdoc len"],
    "displays": [
        "class A: pass\nformatters = get_ipython().display_formatter.formatters\n"
        "formatters['text/plain'].for_type(A, lambda o, p, c: p.text('AAA'))\nA()",
        "formatters['text/html'].for_type_by_name('__main__', 'A', lambda o: '<a>')\nA()",
        "class B:\n    def _repr_html_(self): return '<b>'\n    def _repr_png_(self): return b'\\x89PNG'\nB()",
        "class C:\n    def _ipython_display_(self): print('shown')\nC()",
        "class D:\n    def _repr_mimebundle_(self, include=None, exclude=None):\n"
        "        return {'text/plain': 'd', 'a/x': 1}, {'m': 1}\nD()",
        "display(A(), B())",
        "from IPython.display import display, HTML, JSON, clear_output\ndisplay(HTML('h'), display_id='k', metadata={'a': 1})",
        "h = display('x', display_id=True)\nh.update('y')\nNone",
        "JSON({'a': 1})",
        "print(1)\nclear_output(wait=True)\nprint(2)",
        "display({'text/plain': 'r'}, raw=True)",
        "import pandas as pd\npd.DataFrame({'a': [1]})",
        "from rich.console import Console\nConsole().is_jupyter",
    ],
    "errors": [
        "1/0",
        "raise KeyboardInterrupt",
        "x = = 1",
        "  x=1\n y=2",
        "raise ValueError('a') from KeyError('b')",
        "assert 0, 'no'",
        "import nowhere_xx",
        "exec('x = = 1')",
        "class E(Exception):\n    def _render_traceback_(self): return ['rendered']\nraise E",
        "%nosuchmagic",
        "%%nosuchmagic\n1",
        "try:\n    1/0\nexcept ZeroDivisionError:\n    get_ipython().showtraceback()\nprint('after')",
        "%tb",
        "def h(self, etype, value, tb, tb_offset=None):\n    print('custom', value)\n    return ['custom tb']\n"
        "get_ipython().set_custom_exc((ZeroDivisionError,), h)",
        "1/0",
        "get_ipython().set_custom_exc((), None)",
        "ip = get_ipython()\nip._showtraceback = lambda e, v, s: print('mine', v)\n1/0",
        "del ip._showtraceback",
        "1/0",
        "import rich.traceback\nhook = rich.traceback.install(width=80)",
        "1/0",
    ],
    "the shell's interface": [
        "ip = get_ipython()\ncalls = []\nnames = ('pre_execute', 'pre_run_cell', 'post_execute', 'post_run_cell')\n"
        "handlers = {n: (lambda n: lambda *a: calls.append((n, len(a))))(n) for n in names}\n"
        "for n in names: ip.events.register(n, handlers[n])",
        "calls[:]",
        "1/0",
        "calls[:]",
        "await __import__('asyncio').sleep(0)",
        "calls[-4:]",
        "for n in names: ip.events.unregister(n, handlers[n])",
        "ip.input_transformers_cleanup.append(lambda lines: [line.replace('@@', '1') for line in lines])",
        "@@ + 1",
        "ip.input_transformers_cleanup.pop()\nNone",
        "import ast\nclass T(ast.NodeTransformer):\n    def visit_Constant(self, n):\n"
        "        return ast.copy_location(ast.Constant(n.value * 2 if isinstance(n.value, int) else n.value), n)\n"
        "ip.ast_transformers.append(T())",
        "21",
        "ip.ast_transformers.pop()\nNone",
        "ip.set_next_input('next')",
        "ip.run_line_magic('time', '1')",
        "ip.run_cell_magic('time', '', '1')",
        "ip.run_cell('5')",
        "ip.run_cell('1/0')",
        "ip.ex('z = 1'); ip.ev('z + 1')",
        "ip.push({'w': 3}); w",
        "ip.system('echo sys')",
        "ip.getoutput('echo out')",
        "ip.register_magic_function(lambda line: line.upper(), 'line', 'up')",
        "y = %up abc\ny",
        "from IPython.core.magic import register_cell_magic\n@register_cell_magic\ndef cm(line, cell): print(line, cell)",
        "%%cm a\nbody",
        "import threading\nr = []\nt = threading.Thread(target=lambda: r.append(get_ipython() is ip)); t.start(); t.join(); r",
        "%%writefile mod1.py\nfrom IPython import get_ipython\ndef who(): return get_ipython()",
        "import sys; sys.path.insert(0, ''); import mod1; mod1.who() is ip",
    ],
    "figures": [
        "%matplotlib inline\nimport matplotlib.pyplot as plt",
        "plt.plot([1, 2])",
        "plt.plot([1, 2]);",
        "fig, ax = plt.subplots(); ax.plot([1]);",
        "fig",
        "plt.plot([1]); plt.show(); print('after'); plt.plot([2]); plt.show()",
        "plt.figure(); plt.close('all')",
        "%config InlineBackend.figure_formats=['retina']",
        "plt.plot([1]);",
        "%config InlineBackend.figure_format='png'",
        "plt.plot([1]); 1/0",
        "plt.get_fignums()",
        "await __import__('asyncio').sleep(0); plt.plot([1]); None",
        "pd = __import__('pandas'); pd.DataFrame({'a': [1]}).plot()",
    ],
    "statements": [
        "1;",
        "None",
        "3\n4",
        "if 1:\n    5",
        "list(range(100))",
        "{'b': 1, 'a': 2}",
        "print('a', end='')",
        "import warnings; warnings.warn('w')",
        "import logging; logging.warning('l')",
        "import pickle\nclass P: pass\nisinstance(pickle.loads(pickle.dumps(P())), P)",
        "import inspect\ndef src(): return 1\ninspect.getsource(src)",
        "import asyncio\nawait asyncio.sleep(0, 'v')",
        "from __future__ import annotations",
        "def g(x: undefined_y): pass",
    ],
}


@pytest.fixture(scope="module")
def both(place: Place) -> Iterator[tuple[Kernel, Kernel]]:
    """ipykernel, and this kernel on a launched server; each in a folder of its own."""
    folder = place.folder / "share/jupyter/kernels/real"
    folder.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "real", "language": "python"}), "utf-8")
    with started(place, "real") as real, started(place, LAUNCHED) as ours:
        ours.ok("pass", READY_TIMEOUT_S)
        real.ok("pass")
        for kernel, name in ((real, "of-real"), (ours, "of-ours")):
            (place.folder / name).mkdir()
            kernel.ok(f"import os; os.chdir({str(place.folder / name)!r})", store_history=False)
        yield real, ours


@pytest.mark.parametrize("topic", list(CELLS))
def test_the_same_cells_say_the_same(both: tuple[Kernel, Kernel], place: Place, topic: str) -> None:
    real, ours = both
    for kernel in both:  # the cells of a topic count from one, also in the history
        kernel.ok("%reset -f", store_history=False)
    for code in CELLS[topic]:
        wanted, got = (_comparable(kernel.run(code), place) for kernel in (real, ours))
        assert got == wanted, code


def test_user_expressions_and_quiet_cells(both: tuple[Kernel, Kernel], place: Place) -> None:
    for options in ({"user_expressions": {"a": "1 + 1", "b": "1/0"}}, {"silent": True}, {"store_history": False}):
        wanted, got = (_comparable(kernel.run("7", **options), place) for kernel in both)
        assert got == wanted, options


def _comparable(run: Run, place: Place) -> Any:
    """What a cell has put out, in order; texts of one stream in one piece."""
    found: list[list[Any]] = []
    for message in run.messages:
        kind, content = message["msg_type"], message["content"]
        if kind == "stream" and found and found[-1][0] == content["name"]:
            found[-1][1] += content["text"]
        elif kind == "stream":
            found.append([content["name"], content["text"]])
        elif kind in ("display_data", "execute_result", "update_display_data"):
            pictures = [mime for mime in content["data"] if mime.startswith("image/png")]
            shown = {mime: "PNG" if mime in pictures else part for mime, part in content["data"].items()}
            found.append([kind, shown, content["metadata"]])
        elif kind == "error":
            found.append([kind, content["ename"], content["evalue"], content["traceback"]])
        elif kind == "clear_output":
            found.append([kind, content])
    reply = run.reply
    text = json.dumps([found, reply["status"], reply.get("payload", []), reply.get("user_expressions", {})], default=str)
    text = json.dumps(json.loads(text), ensure_ascii=False)
    for name in ("of-real", "of-ours"):
        text = text.replace(str(place.folder / name), "FOLDER")
    for pattern, instead in _VARIES:
        text = pattern.sub(instead, text)
    return text.replace("\\u001b", "")
