"""Comms between code on the server and the front end, over the session's stream: what ipywidgets and its like are built on.

Neighbours: `outputs` (queues frames), `session` (hands messages on), `comm_classes`. Needs the `comm` package on the server,
which ipywidgets brings; without it front ends are told that nobody listens. Refuses to know widgets.

A frame `comm` has msg_type, content and metadata as in Jupyter's messages, and the buffers beside it.
Source: Jupyter messaging, "Custom Messages"; the `comm` package, whose two functions a kernel replaces.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

from .cells import Cell
from .facade import KernelFacade
from .outputs import Outputs
from .streams import install_switchboard

_launched: Comms | None = None


class Comms:
    """One session's comms."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._manager: Any = None
        self._facade = KernelFacade()
        self._closed = False

    def own_process(self) -> None:
        """The server belongs to this session: what belongs to no cell uses its comms."""
        global _launched
        _launched = self

    @property
    def manager(self) -> Any:
        """The `comm.base_comm.CommManager` of this session; None where the package is missing."""
        if self._manager is None and install():
            from .comm_classes import Manager

            self._manager = Manager(_others("get_comm_manager")().targets)
        return self._manager

    @property
    def kernel(self) -> Any:
        """What code on the server takes for the kernel."""
        shell = getattr(self._outputs, "shell", None)
        return shell.kernel if shell is not None else self._facade

    def create(self, *arguments: Any, **keywords: Any) -> Any:
        """A comm of this session. As `comm.create_comm`."""
        from .comm_classes import Comm

        return Comm(self, *arguments, **keywords)

    def handle(self, message: dict[str, Any], buffers: list[bytes], cell: Cell) -> None:
        """Take a message of the front end; on the cells' thread, as the cell of this message."""
        kind, content = message["msg_type"], message["content"]
        manager = self.manager
        if manager is None:
            if kind == "comm_open":
                self.send("comm_close", {"comm_id": content.get("comm_id", ""), "data": {}}, {}, [], cell)
            return
        whole = {
            "header": cell.parent,
            "msg_id": cell.parent.get("msg_id"),
            "msg_type": kind,
            "parent_header": {},
            "metadata": message["metadata"],
            "content": content,
            "buffers": [memoryview(buffer) for buffer in buffers],
        }
        getattr(manager, kind)(None, None, whole)

    def lane_of(self, message: dict[str, Any], lane: str | None) -> str | None:
        """The lane on which to handle a message of the front end that came for `lane`.

        Front ends may use a subshell for comms. But where a cell awaits something, and was the last to send on this comm, the
        message may be what it awaits; then its event loop has to see it, which is free meanwhile.
        """
        comms = self._manager.comms if self._manager is not None else {}
        sender = getattr(comms.get(message["content"].get("comm_id")), "sender", None)
        return sender.lane if sender is not None and sender.suspends and not sender.over else lane

    def info(self, target: str | None) -> dict[str, Any]:
        """The open comms, as in `comm_info_reply`."""
        comms = dict(self._manager.comms) if self._manager is not None else {}
        named = {comm_id: {"target_name": found.target_name} for comm_id, found in comms.items()}
        return {key: value for key, value in named.items() if target is None or value["target_name"] == target}

    def send(
        self,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any],
        buffers: list[bytes],
        cell: Cell | None = None,
    ) -> Cell | None:
        """Queue a message to the front end, whose parent is that of the calling cell, or of the latest. Returns that cell."""
        cell = cell or self._outputs.current_cell()
        if cell is not None and cell.front is not self._outputs:  # of another session that shares the object
            cell = self._outputs.last_cell
        if not self._closed:
            header = {"kind": "comm", "cell": cell.id if cell is not None else "", "msg_type": kind}
            self._outputs.queue_comm(cell, {**header, "content": content, "metadata": metadata}, buffers)
        return cell

    def close(self) -> None:
        """The session has ended: what code on the server still sends goes nowhere."""
        global _launched
        self._closed = True
        if _launched is self:
            _launched = None


def install() -> bool:
    """Make `comm.create_comm` and `comm.get_comm_manager` find the calling cell's session. False without the package.

    Before each cell, since the package may have been installed in the one before.
    """
    module = sys.modules.get("comm")
    if module is None:
        found = importlib.util.find_spec("comm")
        if found is None or not found.submodule_search_locations:  # a file of this name is the user's
            return False
        module = importlib.import_module("comm")
    if not hasattr(type(module), "dh_kernel_routed") and hasattr(module, "get_comm_manager"):
        module.__class__ = _CommModule
    return hasattr(type(module), "dh_kernel_routed")


class _CommModule(types.ModuleType):
    """The `comm` package, with functions that ask whose cell calls.

    What others put into their place is kept, and used by code that is no cell's: ipykernel replaces them when it is imported,
    and a server may have been started in a notebook of its.
    """

    dh_kernel_routed = True

    @property
    def create_comm(self) -> Any:
        """A function that makes a comm."""
        return _create_comm

    @create_comm.setter
    def create_comm(self, function: Any) -> None:
        vars(self)["create_comm"] = function

    @property
    def get_comm_manager(self) -> Any:
        """A function that finds the manager of comms."""
        return _get_comm_manager

    @get_comm_manager.setter
    def get_comm_manager(self, function: Any) -> None:
        vars(self)["get_comm_manager"] = function


def of_caller() -> Comms:
    """The comms of the calling code.

    Raises:
        RuntimeError: it belongs to no session.
    """
    comms = _current()
    if comms is None:
        raise RuntimeError("comms can be made in cells, and in threads and callbacks of cells")
    return comms


def _others(name: str) -> Any:
    """The package's own function, or another kernel's."""
    return vars(sys.modules["comm"])[name]


def _create_comm(*arguments: Any, **keywords: Any) -> Any:
    comms = _current()
    make = comms.create if comms is not None else _others("create_comm")
    return make(*arguments, **keywords)


def _get_comm_manager() -> Any:
    comms = _current()
    return comms.manager if comms is not None else _others("get_comm_manager")()


def _current() -> Comms | None:
    cell = install_switchboard().current()
    comms: Comms | None = getattr(getattr(cell, "front", None), "comms", None)
    return comms or _launched
