"""What libraries on the server reach as `get_ipython().kernel` and `comm.kernel`: the parts of ipykernel's that they use.

Neighbours: `front` (whose cell calls), `comms`, `introspection`; `ipython_shell` and `ipython_names` hand it out. Refuses to
be a kernel: that is another process.
"""

from __future__ import annotations

import sys
from typing import Any

from . import front
from .introspection import complete, inspect_at
from .parents import Parents


class KernelFacade:
    """The kernel as seen from a cell. `shell` has the namespace as its `user_ns`; None where no shell is known."""

    iopub_socket = None
    _parents = Parents()

    def __init__(self, shell: Any = None) -> None:
        self.shell = shell

    def get_parent(self, channel: str | None = None) -> dict[str, Any]:
        """The message that the calling code answers: its header only."""
        return self._parents.get_parent()

    @property
    def _parent_header(self) -> dict[str, Any]:
        return self.get_parent()

    @property
    def comm_manager(self) -> Any:
        """The comms of the calling cell's session."""
        import comm

        return comm.get_comm_manager()

    def do_complete(self, code: str, cursor_pos: int | None = None) -> dict[str, Any]:
        """The content of a `complete_reply`. VS Code sends no request for it: a hidden cell of its calls this."""
        return complete(self._namespace, code, len(code) if cursor_pos is None else cursor_pos)

    def do_inspect(self, code: str, cursor_pos: int, detail_level: int = 0, omit_sections: Any = ()) -> dict[str, Any]:
        """The content of an `inspect_reply`."""
        return inspect_at(self._namespace, code, cursor_pos, detail_level)

    @property
    def _namespace(self) -> dict[str, Any]:
        return dict(self.shell.user_ns) if self.shell is not None else {}

    def send_response(self, stream: Any, msg_or_type: str, content: dict[str, Any] | None = None, *_: Any, **__: Any) -> None:
        """Publish a message of the calling cell.

        Raises:
            NotImplementedError: a type of message that is not output.
        """
        content = content or {}
        if msg_or_type == "stream":
            getattr(sys, content["name"]).write(content["text"])
        elif msg_or_type == "error":
            front.publish_error(content)
        elif msg_or_type == "clear_output":
            front.clear_output(bool(content.get("wait")))
        elif msg_or_type in ("display_data", "update_display_data"):
            display_id = (content.get("transient") or {}).get("display_id")
            update = msg_or_type.startswith("update")
            front.publish(content["data"], content.get("metadata") or {}, display_id, update)
        else:
            raise NotImplementedError(f"a cell on a server cannot send {msg_or_type}")
