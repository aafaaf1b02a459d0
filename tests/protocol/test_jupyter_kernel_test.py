"""Jupyter's own conformance tests, all of them, on a launched server and on an attached vanilla one."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import ClassVar

import jupyter_kernel_test  # type: ignore[import-untyped]
import pytest
from harness import ATTACHED, TIMEOUT_S, Kernel, Place, started


class _Samples:
    """What both kinds of server are asked. An attached vanilla server has no IPython."""

    language_name = "python"
    file_extension = ".py"
    code_hello_world = "print('hello, world')"
    code_stderr = "import sys; print('oh no', file=sys.stderr)"
    completion_samples: ClassVar = [{"text": "zi", "matches": {"zip"}}, {"text": "empty_tab"}]
    complete_code_samples: ClassVar = ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n"]
    incomplete_code_samples: ClassVar = ["print('''hello", "def f(x):\n  x*2", "t = empty_table("]
    invalid_code_samples: ClassVar = ["import = 7q", "for x in\n    pass"]
    code_page_something = "zip?"
    code_generate_error = "raise ValueError('on purpose')"
    code_execute_result: ClassVar = [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
        {"code": "'déjà ☃ 🐍'", "result": "'déjà ☃ 🐍'"},
        {"code": "(__import__('deephaven').empty_table(3).update('X = i'))", "mime": "text/html"},
    ]
    code_display_data: ClassVar = [
        {"code": "from dh_kernel.display import display\ndisplay(42)", "mime": "text/plain"},
        {"code": "display(type('H', (), {'_repr_html_': lambda self: '<b>bold</b>'})())", "mime": "text/html"},
        {"code": "shown = __import__('deephaven').empty_table(3)", "mime": "application/vnd.dataresource+json"},
    ]
    code_history_pattern = "1?2*"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "zip"
    code_clear_output = "from dh_kernel.display import clear_output\nclear_output()"

    @classmethod
    def setUpClass(cls) -> None:
        """The kernel comes from a fixture."""

    @classmethod
    def tearDownClass(cls) -> None:
        """The fixture ends it."""


class TestLaunched(_Samples, jupyter_kernel_test.KernelTests):  # type: ignore[misc]
    """The kernel with a server of its own."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def kernel(cls, launched_kernel: Kernel) -> None:
        """Let the suite use the fixture's kernel."""
        _give(cls, launched_kernel)

    code_clear_output = "from IPython.display import clear_output\nclear_output()"


class TestAttached(_Samples, jupyter_kernel_test.KernelTests):  # type: ignore[misc]
    """The kernel on a server that knows nothing of it."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def kernel(cls, attached_kernel: Kernel) -> None:
        """Let the suite use the fixture's kernel."""
        _give(cls, attached_kernel)


class TestWelcome(jupyter_kernel_test.IopubWelcomeTests):  # type: ignore[misc]
    """The message by which a client knows that it is subscribed. ipykernel sends it to the first client of a kernel only."""

    support_iopub_welcome = True

    @classmethod
    def setUpClass(cls) -> None:
        """The kernel comes from a fixture."""

    @classmethod
    def tearDownClass(cls) -> None:
        """The fixture ends it."""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def kernel(cls, attached_place: Place) -> Iterator[None]:
        """A kernel that nobody has subscribed to before. The suite itself would wait for the message for ever."""
        with started(attached_place, ATTACHED, wait=False) as kernel:
            cls.km, cls.kc = kernel.manager, kernel.client
            kernel.client.start_channels = lambda: None  # type: ignore[method-assign, assignment, misc]  # they are started, and can be so once only
            kernel.client.get_iopub_msg = functools.partial(  # type: ignore[method-assign]
                kernel.client.get_iopub_msg, timeout=TIMEOUT_S
            )
            yield


def _give(suite: type, kernel: Kernel) -> None:
    # The suite's own timeouts are for a server that has compiled its first formula.
    kernel.ok("__import__('deephaven').empty_table(1).update('X = i');", 120.0)
    suite.km, suite.kc = kernel.manager, kernel.client  # type: ignore[attr-defined]
