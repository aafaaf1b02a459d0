"""The `comm` package's classes as this kernel has them. Imported only where that package is.

Neighbours: `comms` makes these, and sends what they publish. Refuses to know frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comm.base_comm import BaseComm, CommManager

if TYPE_CHECKING:
    from .cells import Cell
    from .comms import Comms


class Comm(BaseComm):
    """One comm. It keeps to the session that it was made in, also when other code sends its messages."""

    def __init__(self, comms: Comms, /, *arguments: Any, **keywords: Any) -> None:
        self.owner = comms
        self.sender: Cell | None = None
        """The cell that sent the latest message: an answer is for it, if it still waits."""
        super().__init__(*arguments, **keywords)

    @property
    def kernel(self) -> Any:
        """What widgets look for before they send: whether there is somebody to send to, and whose output is whose."""
        return self.owner.kernel

    def publish_msg(self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any) -> None:
        """Send a message to the front end."""
        content = {"data": {} if data is None else data, "comm_id": self.comm_id, **keys}
        raw = [memoryview(buffer).tobytes() for buffer in buffers or ()]
        self.sender = self.owner.send(msg_type, content, metadata or {}, raw)

    def close(self, data: Any = None, metadata: Any = None, buffers: Any = None, deleting: bool = False) -> None:
        """Close both ends.

        Garbage collection sends nothing: it may strike while its thread holds a lock that sending needs. The front end loses
        nothing by that, since open comms are held by their manager.
        """
        if not deleting:
            super().close(data, metadata, buffers)


class Manager(CommManager):
    """One session's comms, and the whole process's targets: libraries register theirs once, when they are imported."""

    def __init__(self, targets: dict[str, Any]) -> None:
        super().__init__()
        self.targets = targets

    def unregister_comm(self, comm: Any) -> None:
        """Forget a comm, of whichever session it is."""
        owner = getattr(comm, "owner", None)
        comms = owner.manager.comms if owner is not None else self.comms
        del comms[comm.comm_id]
