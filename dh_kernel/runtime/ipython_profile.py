"""What users keep in their IPython profile: configuration, extensions, start-up files. As ipykernel, in launched servers.

Neighbours: `ipython_shell`. Whatever these do wrong, cells run: it is told on the server's standard error.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from typing import Any

from IPython.core.application import BaseIPythonApplication
from IPython.core.shellapp import InteractiveShellApp
from traitlets import Any as AnyTrait
from traitlets.config import Config


class IPKernelApp(BaseIPythonApplication, InteractiveShellApp):  # type: ignore[misc]
    """Reads the files `ipython_config.py` and `ipython_kernel_config.py`. Named as users address it: `c.IPKernelApp`."""

    name = "ipython-kernel"
    shell = AnyTrait(allow_none=True)
    extra_args = AnyTrait([])

    def init_shell(self) -> None:
        """The shell is made by its session."""

    def init_banner(self) -> None:
        """Front ends show the kernel's."""


class Profile:
    """The profile `default` of the server's account. `config` is empty where its files cannot be read."""

    def __init__(self) -> None:
        self.config = Config()
        self._app: Any = None
        with _told("the IPython profile cannot be read"):
            app = IPKernelApp()
            app.init_profile_dir()
            app.init_config_files()
            app.load_config_file(suppress_errors=True)
            self._app, self.config = app, app.config

    def start(self, shell: Any) -> None:
        """Load the extensions, then run the start-up files and lines, as the shell's cells."""
        if self._app is None:
            return
        self._app.shell = shell
        shell.configurables.append(self._app)
        for step in (self._app.init_gui_pylab, self._app.init_extensions, self._app.init_code):
            with _told("the IPython profile's start-up failed"):
                step()


@contextlib.contextmanager
def _told(what: str) -> Iterator[None]:
    import sys

    try:
        yield
    except (Exception, SystemExit):  # the files are the user's code, and IPython's own answer to bad ones is to exit
        print(f"{what}:", file=sys.stderr)
        traceback.print_exc()
