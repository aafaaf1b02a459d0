"""Comms between code on the server and the front end, over the session's stream: what ipywidgets and its like are built on.

Neighbours: `outputs` (queues frames), `session` (hands messages on). Needs the `comm` package on the server, which ipywidgets
and IPython's own kernel bring; without it front ends are told that nobody listens. Refuses to know widgets.

A frame `comm` has msg_type, content and metadata as in Jupyter's messages, and the buffers beside it.
Source: Jupyter messaging, "Custom Messages"; the `comm` package, whose two functions a kernel replaces.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from .cells import Cell
from .outputs import Outputs
from .streams import install_switchboard

_main: Comms | None = None


class Comms:
    """One session's comms."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._manager: Any = None

    def install(self, *, main: bool) -> None:
        """Make `comm.create_comm` and `comm.get_comm_manager` find the calling cell's session.

        Args:
            main: use this session where the calling code belongs to no cell.
        """
        global _main
        if main or _main is None:
            _main = self
        if importlib.util.find_spec("comm") is None:
            return
        import comm

        comm.create_comm = _create_comm
        comm.get_comm_manager = lambda: _current().manager

    @property
    def manager(self) -> Any:
        """The `comm.base_comm.CommManager` of this session; None where the package is missing."""
        if self._manager is None and importlib.util.find_spec("comm") is not None:
            from comm.base_comm import CommManager

            self._manager = CommManager()
        return self._manager

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
            "parent_header": {},
            "metadata": message["metadata"],
            "content": content,
            "buffers": [memoryview(buffer) for buffer in buffers],
        }
        getattr(manager, kind)(None, None, whole)

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
    ) -> None:
        """Queue a message to the front end; its parent is that of the calling cell, or of the latest one."""
        cell = cell or self._outputs.current_cell()
        header = {"kind": "comm", "cell": cell.id if cell is not None else "", "msg_type": kind}
        self._outputs.queue_comm(cell, {**header, "content": content, "metadata": metadata}, buffers)


def _current() -> Comms:
    cell = install_switchboard().current()
    comms = getattr(getattr(cell, "front", None), "comms", None) or _main
    assert comms is not None
    return comms


def _create_comm(*arguments: Any, **keywords: Any) -> Any:
    """A comm of the calling cell's session. As `comm.create_comm`."""
    return _comm_class()(*arguments, **keywords)


_made_class: Any = None


def _comm_class() -> Any:
    global _made_class
    if _made_class is None:
        from comm.base_comm import BaseComm

        class Comm(BaseComm):
            """One comm. Keeps to the session that it was made in, also when its messages are sent from elsewhere."""

            _dh_kernel_comms: Comms | None = None

            def publish_msg(
                self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
            ) -> None:
                if self._dh_kernel_comms is None:
                    self._dh_kernel_comms = _current()
                content = {"data": {} if data is None else data, "comm_id": self.comm_id, **keys}
                raw = [bytes(memoryview(buffer).cast("B")) for buffer in buffers or ()]
                self._dh_kernel_comms.send(msg_type, content, metadata or {}, raw)

        _made_class = Comm
    return _made_class
