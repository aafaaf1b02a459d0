"""ipykernel's modules as libraries look for them in a notebook, in a launched server: it is no ipykernel, but behaves as one.

tqdm takes the process for a notebook if `ipykernel.zmqshell` has been imported; bokeh, panel and matplotlib's nbagg make their
comms by `ipykernel.comm.Comm`, which reaches nobody without a kernel in the process. The rest of ipykernel stays what it is.
Neighbours: `ipython_shell` (its shell is found here), `comms`.
"""

from __future__ import annotations

import functools
import importlib.machinery
import importlib.util
import os
import sys
import types
from typing import Any

from . import comms

offered: dict[str, Any] = {}
"""The modules that are ours."""


def install(shell_class: type) -> None:
    """Offer the modules, unless the process has imported ipykernel's own."""
    shell_module = types.ModuleType("ipykernel.zmqshell", __doc__)
    shell_module.ZMQInteractiveShell = shell_class  # type: ignore[attr-defined]
    comm_package = types.ModuleType("ipykernel.comm", __doc__)
    comm_package.__path__ = _places()
    comm_package.__spec__ = importlib.machinery.ModuleSpec("ipykernel.comm", None, is_package=True)
    comm_package.__getattr__ = _of_comm_package  # type: ignore[method-assign]
    for module in (shell_module, comm_package):
        if sys.modules.setdefault(module.__name__, module) is module:
            offered[module.__name__] = module


def _places() -> list[str]:
    """Where the package's other modules are."""
    found = importlib.util.find_spec("ipykernel")
    return [os.path.join(place, "comm") for place in (found.submodule_search_locations or ())] if found else []


def _of_comm_package(name: str) -> Any:
    if name == "Comm" and comms.install():
        return _comm_class()
    if name == "CommManager" and comms.install():
        from .comm_classes import Manager

        return Manager
    raise AttributeError(f"module 'ipykernel.comm' has no attribute {name!r}")


@functools.cache
def _comm_class() -> type:
    from .comm_classes import Comm

    class IPyKernelComm(Comm):
        """A comm of the calling cell's session."""

        def __init__(self, target_name: str = "", *arguments: Any, **keywords: Any) -> None:
            for own in ("show_warning", "kernel"):
                keywords.pop(own, None)
            super().__init__(comms.of_caller(), target_name or "comm", *arguments, **keywords)

    return IPyKernelComm
