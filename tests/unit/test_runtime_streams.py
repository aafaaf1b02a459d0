"""Whose text is whose: by the writing thread, threads that a cell starts included, in order, and never mixed."""

from __future__ import annotations

import io
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dh_kernel.runtime.streams as streams
from dh_kernel.runtime.streams import EXACT, RoutedStream, Switchboard, TextBuffer, exact_bytes, printable
from dh_kernel.runtime.wire import MAX_FRAME_BYTES


class Target:
    """Keeps what is written to it."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, str]] = []
        self.over = self.exact = False

    def write_text(self, name: str, text: str) -> None:
        self.parts.append((name, text))

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.parts)


@pytest.fixture
def switchboard() -> Switchboard:
    return Switchboard()


def on_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_code_inside_writes_to_its_target(switchboard: Switchboard) -> None:
    log, target = io.StringIO(), Target()
    out, err = RoutedStream("stdout", switchboard, log), RoutedStream("stderr", switchboard, log)

    def cell() -> None:
        with switchboard.entered(target):
            print("a", end="", file=out)
            print("b", end="", file=err)
            print("c", end="", file=out)

    on_thread(cell)
    assert [part for part in target.parts if part[1]] == [("stdout", "a"), ("stderr", "b"), ("stdout", "c")]
    assert log.getvalue() == ""


def test_a_cell_that_waits_gets_its_text_again_after_one_that_ran_meanwhile(switchboard: Switchboard) -> None:
    out, waiting, prompt, later = RoutedStream("stdout", switchboard, io.StringIO()), Target(), Target(), Target()

    def cells() -> None:
        with switchboard.entered(waiting):
            with switchboard.entered(prompt):
                print("prompt", end="", file=out)
            prompt.over = True
            print("waiting", end="", file=out)
        waiting.over = True
        print(" callback", end="", file=out)
        with switchboard.entered(later):
            pass
        print("callback", end="", file=out)

    on_thread(cells)
    assert (waiting.text, prompt.text, later.text) == ("waiting callback", "prompt", "callback")


def test_a_function_called_by_the_engine_writes_to_the_cell_that_defined_it(switchboard: Switchboard) -> None:
    log, target = io.StringIO(), Target()
    out = RoutedStream("stdout", switchboard, log)
    names: dict[str, Any] = {"out": out}
    exec(compile("def udf(): print('udf', end='', file=out)", "<cell 1>", "exec"), names)
    switchboard.remember_file("<cell 1>", target)
    on_thread(names["udf"])
    assert target.text == "udf"
    on_thread(lambda: print("nobody", file=out))
    assert log.getvalue() == "nobody\n"
    called = compile("udf()", "<string>", "exec")
    on_thread(lambda: exec(called, {**names, "__name__": "made"}))
    assert target.text == "udfudf", "deephaven wraps the functions of formulas in source of its own"
    on_thread(lambda: exec(called, {**names, "__name__": "__main__"}))
    assert (target.text, log.getvalue()) == ("udfudf", "nobody\nudf"), "another client's console calls it: it is theirs"


def test_what_belongs_to_nobody_goes_where_it_went_before_and_to_the_takers(switchboard: Switchboard) -> None:
    log, taken = io.StringIO(), []
    out = RoutedStream("stdout", switchboard, log)
    print("x", end="", file=out)
    switchboard.unowned.append(lambda name, text: taken.append((name, text)))
    print("y", end="", file=out)
    assert log.getvalue() == "xy"
    assert [part for part in taken if part[1]] == [("stdout", "y")]


def test_two_targets_never_mix(switchboard: Switchboard) -> None:
    out = RoutedStream("stdout", switchboard, io.StringIO())
    targets = [Target() for _ in range(8)]
    together = threading.Barrier(len(targets))

    def cell(number: int) -> None:
        with switchboard.entered(targets[number]):
            together.wait()
            for line in range(300):
                print(number, line, file=out)

    threads = [threading.Thread(target=cell, args=(number,)) for number in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, target in enumerate(targets):
        assert target.text == "".join(f"{number} {line}\n" for line in range(300))


def test_the_stream_refuses_what_is_no_text_and_says_what_it_is(switchboard: Switchboard) -> None:
    out = RoutedStream("stdout", switchboard, io.StringIO())
    with pytest.raises(TypeError, match="must be str, not bytes"):
        out.write(b"x")  # type: ignore[arg-type]
    assert out.writable()
    assert not out.isatty()
    assert out.encoding == "utf-8"
    assert out.write("abc") == 3
    out.writelines(["a", "b"])
    out.flush()


def test_the_stream_is_reconfigured_for_one_cell_as_a_text_wrapper_is(switchboard: Switchboard) -> None:
    out, exact, other = RoutedStream("stdout", switchboard, io.StringIO()), Target(), Target()
    exact.exact = True

    def script() -> None:
        with switchboard.entered(exact):
            out.reconfigure(line_buffering=True, write_through=True)
            assert (out.line_buffering, out.write_through, out.encoding) == (True, True, "utf-8")
            out.reconfigure(encoding="latin-1", newline="\r\n")
            assert (out.encoding, out.errors, out.line_buffering) == ("latin-1", "strict", True)
            print("é", file=out)
            out.buffer.write("é".encode())
            with pytest.raises(UnicodeEncodeError):
                out.write("€")
            with pytest.raises(LookupError):
                out.reconfigure(encoding="no such")
            with pytest.raises(ValueError, match="newline"):
                out.reconfigure(newline="x")
            out.detach().write(b"!")
            out.close()

    def cell() -> None:
        with switchboard.entered(other):
            assert (out.encoding, out.line_buffering, out.write_through) == ("utf-8", False, False)
            out.reconfigure(encoding="latin-1")
            print("é€", end="", file=out)

    on_thread(script)
    on_thread(cell)
    assert exact_bytes(exact.text) == "é\r\n".encode("latin-1") + "é!".encode()
    assert other.text == "é€", "a notebook is text"
    assert not out.closed
    assert not {name for name in dir(io.TextIOWrapper) if not name.startswith("_")} - set(dir(out))


def test_bytes_may_be_written_too(switchboard: Switchboard) -> None:
    log = io.StringIO()
    out = RoutedStream("stdout", switchboard, log)
    assert out.buffer.write("é\n".encode()) == 3
    out.buffer.write(b"\xff")
    out.buffer.flush()
    assert log.getvalue() == "é\n\ufffd"


def run_python(source: str) -> str:
    """Run a program in an interpreter of its own: what it tests changes the process."""
    root = str(Path(streams.__file__).parents[2])
    code = f"import sys\nsys.path.insert(0, {root!r})\n" + textwrap.dedent(source)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_threads_write_to_the_cell_that_started_them() -> None:
    """Threads of threads too, pools too, and after the cell has ended."""
    out = run_python("""
        import json, threading
        from concurrent.futures import ThreadPoolExecutor
        from dh_kernel.runtime.streams import install_switchboard
        class Target:
            over = False
            def __init__(self): self.text = ""
            def write_text(self, name, text): self.text += text
        board, one, two = install_switchboard(), Target(), Target()
        assert install_switchboard() is board
        go = threading.Event()
        def child():
            print("child")
            grandchild = threading.Thread(target=print, args=("grandchild",))
            grandchild.start(); grandchild.join()
            go.wait()
            print("late")
        def cell(target, started):
            with board.entered(target):
                with ThreadPoolExecutor(1) as pool:
                    pool.submit(print, "pool").result()
                thread = threading.Thread(target=child)
                thread.start()
                started.append(thread)
        for target in (one, two):
            started = []
            main = threading.Thread(target=cell, args=(target, started))
            main.start(); main.join()
            go.set()
            started[0].join()
            go.clear()
        plain = threading.Thread(target=print, args=("nobody",))
        plain.start(); plain.join()
        print(json.dumps([one.text, two.text]))
    """)
    expected = r"pool\nchild\ngrandchild\nlate\n"
    assert out == f'nobody\n["{expected}", "{expected}"]\n'


def test_the_switchboard_is_one_for_all_versions_and_wraps_once() -> None:
    out = run_python("""
        import sys
        from dh_kernel.runtime.streams import install_switchboard
        first = install_switchboard()
        stream = sys.stdout
        del sys.modules["dh_kernel.runtime.streams"]
        from dh_kernel.runtime.streams import install_switchboard as other
        print(other() is first, sys.stdout is stream)
    """)
    assert out == "True True\n"


class Sent:
    """A buffer and what it has sent."""

    def __init__(self) -> None:
        self.parts: list[tuple[str, str, str]] = []
        self.woken = 0
        self.buffer = TextBuffer(lambda *part: self.parts.append(part), self._wake)

    def _wake(self) -> None:
        self.woken += 1


WRITES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["stdout", "stderr"]), st.text(max_size=5)), max_size=40)


@settings(deadline=None)
@given(WRITES, st.sets(st.integers(0, 40)))
def test_text_is_joined_and_keeps_its_order(writes: list[tuple[str, str, str]], flushes: set[int]) -> None:
    sent = Sent()
    for number, write in enumerate(writes):
        sent.buffer.write(*write)
        if number in flushes:
            sent.buffer.flush()
    sent.buffer.flush()
    characters = [(cell, name, character) for cell, name, text in sent.parts for character in text]
    assert characters == [(cell, name, character) for cell, name, text in writes for character in printable(text)]


def test_neighbours_of_one_stream_become_one_piece() -> None:
    sent = Sent()
    for text in ("a", "b", "c"):
        sent.buffer.write("1", "stdout", text)
    sent.buffer.write("1", "stderr", "!")
    sent.buffer.write("1", "stdout", "d")
    assert sent.parts == []
    sent.buffer.flush()
    assert sent.parts == [("1", "stdout", "abc"), ("1", "stderr", "!"), ("1", "stdout", "d")]
    assert sent.woken == 1, "the writer is woken for the first piece only"


def test_text_is_split_for_the_wire_and_the_writer_is_warned() -> None:
    sent = Sent()
    text = "x" * (2 * MAX_FRAME_BYTES + 5)
    assert sent.buffer.write("1", "stdout", text)
    assert not Sent().buffer.write("1", "stdout", "x")
    sent.buffer.flush()
    assert [len(piece) for _, _, piece in sent.parts] == [MAX_FRAME_BYTES, MAX_FRAME_BYTES, 5]
    assert "".join(piece for _, _, piece in sent.parts) == text


def test_a_first_line_is_due_at_once_and_nothing_is_due_without_text() -> None:
    sent = Sent()
    assert sent.buffer.flush_if_due() is None
    sent.buffer.write("1", "stdout", "a\n")
    assert sent.buffer.flush_if_due() is None
    assert sent.parts == [("1", "stdout", "a\n")]


def test_an_unfinished_line_waits_a_little_for_its_end() -> None:
    """`print` writes its parts one by one; a prompt without an end comes too."""
    sent = Sent()
    for part in ("made", " ", "1000"):
        sent.buffer.write("1", "stdout", part)
        assert sent.buffer.flush_if_due() is not None
    sent.buffer.write("1", "stdout", "\n")
    assert sent.buffer.flush_if_due() is None
    sent.buffer.write("1", "stdout", "name? ")
    while (wait := sent.buffer.flush_if_due()) is not None:
        threading.Event().wait(wait)
    assert sent.parts == [("1", "stdout", "made 1000\n"), ("1", "stdout", "name? ")]


def test_lone_surrogates_are_spelled_out() -> None:
    assert printable("a\ud800é") == "a\\ud800é"
    assert printable("é\U0001f600") == "é\U0001f600"


ROOT = Path(__file__).parents[2]
_FORK = """
import os, sys
from dh_kernel.runtime import streams

class Cell:
    over = False
    def write_text(self, name, text):
        os.write(1, f"cell: {text}".encode())

switchboard = streams.install_switchboard()
with switchboard.entered(Cell()):
    print("parent", end="|")
    if os.fork() == 0:
        print("child", end="|")
        sys.stdout.flush()
        os._exit(0)
    os.wait()
    print("parent", end="|")
"""


def test_a_forked_process_writes_to_its_file_descriptor() -> None:
    """It has none of the runtime's threads, so what it gave to the cell would be lost."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _FORK], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "cell: parentcell: |child|cell: parentcell: |"


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"caf\xc3", b"\x00\x80 and text", bytes(range(256))])
def test_bytes_of_an_exact_cell_come_back_whole(raw: bytes) -> None:
    assert exact_bytes(raw.decode("utf-8", "surrogateescape")) == raw


def test_text_needs_no_bytes_and_other_surrogates_are_spelled_out() -> None:
    assert exact_bytes("caf\xe9 \U0001f600") is None
    assert exact_bytes("\ud800\udcff") == b"\\ud800\xff"


def test_the_text_of_an_exact_cell_keeps_its_surrogates_until_it_is_sent() -> None:
    sent: list[tuple[str, str, str]] = []
    buffer = TextBuffer(lambda cell, name, text: sent.append((cell, name, text)), lambda: None)
    for half in (b"\xc3", b"\xa9"):
        buffer.write("1", f"{EXACT}stdout", half.decode("utf-8", "surrogateescape"))
    buffer.flush()
    assert sent == [("1", f"{EXACT}stdout", "\udcc3\udca9")]
    assert exact_bytes(sent[0][2]) == "\xe9".encode()
