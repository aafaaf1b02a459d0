"""ipywidgets, anywidget and progress bars in JupyterLab, moved and clicked as a person does, with callbacks on the server."""

from __future__ import annotations

from pathlib import Path

import pytest
from chromium import Page
from lab import Lab, Notebook

pytestmark = pytest.mark.long
HANDLE = ".noUi-handle"


@pytest.fixture(scope="module")
def notebook(lab: Lab, page: Page) -> Notebook:
    """A notebook whose kernel is ready."""
    made = Notebook(lab, page)
    made.run("import ipywidgets as widgets\nfrom IPython.display import display")
    return made


def test_interact_follows_its_slider(notebook: Notebook, tmp_path: Path) -> None:
    cell = notebook.run("@widgets.interact(x=(0, 10))\ndef f(x=3): print('x squared is', x * x)")
    notebook.wait_for_text(cell, "x squared is 9")
    notebook.focus(cell, HANDLE)
    notebook.page.key("ArrowRight", 39)
    notebook.wait_for_text(cell, "x squared is 16")
    for _ in range(3):
        notebook.page.key("ArrowRight", 39)
    notebook.wait_for_text(cell, "x squared is 49")
    assert "x squared is 9\n" not in notebook.text(cell)
    notebook.page.picture(tmp_path / "interact.png")


def test_a_button_prints_into_its_output(notebook: Notebook) -> None:
    cell = notebook.run(
        "out = widgets.Output()\nbutton = widgets.Button(description='Go')\nclicks = []\n"
        "def on_click(b):\n    clicks.append(1)\n    with out:\n        print('clicks:', len(clicks))\n"
        "        if len(clicks) == 2: raise ValueError('two is too many')\nbutton.on_click(on_click)\ndisplay(button, out)"
    )
    notebook.click(cell, "button.jupyter-button")
    notebook.wait_for_text(cell, "clicks: 1")
    notebook.click(cell, "button.jupyter-button")
    notebook.wait_for_text(cell, "ValueError: two is too many")
    notebook.run("out.clear_output()")
    notebook.wait(cell, "cell => !cell.querySelector('.jp-OutputArea').innerText.includes('clicks')")


def test_a_slider_is_heard_while_a_cell_runs(notebook: Notebook) -> None:
    """JupyterLab sends messages to comms on a subshell."""
    shown = notebook.run(
        "import threading\ngo = threading.Event()\ns = widgets.IntSlider(max=10)\n"
        "s.observe(lambda change: go.set(), 'value')\ns"
    )
    waiting = notebook.send("print('waits')\nprint('heard:', go.wait(60), s.value)")
    notebook.wait_for_text(waiting, "waits")
    notebook.focus(shown, HANDLE)
    notebook.page.key("ArrowRight", 39)
    notebook.wait_for_text(waiting, "heard: True 1")


def test_progress_bars_move_and_end(notebook: Notebook, tmp_path: Path) -> None:
    bars = notebook.run(
        "from tqdm.auto import tqdm\nfrom rich.progress import track\nfrom time import sleep\n"
        "for i in tqdm(range(30), desc='Work'): sleep(.01)\nfor i in track(range(30), description='More'): sleep(.01)"
    )
    notebook.wait_for_text(bars, "30/30")
    notebook.wait_for_text(bars, "100%")
    assert notebook.wait(bars, "cell => cell.querySelector('.jupyter-widgets.widget-hprogress, .widget-hprogress') !== null")
    text = " ".join(notebook.text(bars).split())
    assert "Work: 100%" in text
    assert "More" in text
    assert "Output()" not in text
    notebook.wait(bars, "cell => (cell.scrollIntoView(), true)")
    notebook.page.wait("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")
    notebook.page.picture(tmp_path / "progress.png")


def test_anywidget_talks_both_ways_with_buffers(notebook: Notebook) -> None:
    cell = notebook.run(
        "import anywidget, traitlets\nclass Echo(anywidget.AnyWidget):\n    _esm = '''\n"
        "    function render({ model, el }) {\n      const b = document.createElement('button'); b.textContent = 'ask';\n"
        "      b.className = 'asker'; el.append(b);\n"
        "      b.onclick = () => model.send({ ask: 1 }, undefined, [new Uint8Array([1, 2, 3]).buffer]);\n"
        "      model.on('msg:custom', (m, buffers) => {\n"
        "        b.textContent = m.got + ' ' + Array.from(new Uint8Array(buffers[0].buffer)).join();\n"
        "        model.set('count', model.get('count') + 1); model.save_changes();\n      });\n    }\n"
        "    export default { render };\n    '''\n    count = traitlets.Int(0).tag(sync=True)\n"
        "def answer(w, content, buffers): w.send({'got': content['ask']}, buffers=[bytes(b * 2 for b in bytes(buffers[0]))])\n"
        "echo = Echo(); echo.on_msg(answer)\necho"
    )
    notebook.click(cell, "button.asker")
    notebook.wait_for_text(cell, "1 2,4,6")
    counted = notebook.run("import asyncio\nwhile echo.count == 0: await asyncio.sleep(.05)\nprint('count', echo.count)")
    notebook.wait_for_text(counted, "count 1")


def test_widgets_are_there_again_after_a_reload(notebook: Notebook) -> None:
    cell = notebook.run("kept = widgets.IntSlider(value=6, description='kept', max=10)\nkept")
    notebook.wait_for_text(cell, "6")
    notebook.run("kept.value = 7")
    notebook.wait_for_text(cell, "7")
    notebook.reload()
    notebook.wait(cell, f"cell => cell.querySelector('{HANDLE}') !== null")
    notebook.wait_for_text(cell, "7")
    notebook.focus(cell, HANDLE)
    notebook.page.key("ArrowRight", 39)
    notebook.wait_for_text(cell, "8")
    value = notebook.run("print('now', kept.value)")
    notebook.wait_for_text(value, "now 8")
