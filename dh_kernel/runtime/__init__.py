"""What runs inside the server: the standard library and deephaven only, nothing of the rest of dh_kernel.

Shipped as sources and loaded by an in-memory importer under a name of its own version (`dh_kernel.session.shipping`), so that
it is written and tested as normal modules, and kernels of different versions can share a server.
"""

from __future__ import annotations

import builtins
import importlib.util
import sys
import threading
import types
from typing import Any

_sessions: dict[str, Any] = {}
_lock = threading.Lock()


def open_session(session_id: str, namespace: dict[str, Any], options: dict[str, Any]) -> Any:
    """The channel of a session, made new or, for a kernel that comes back, the one it had.

    Called by a console script. The result must be a global while the kernel fetches it; it can be deleted right after.

    Args:
        namespace: the globals in which cells run, unless the options ask for private ones.
        options: those of `dh_kernel.session.SessionOptions`, as JSON data. `take_over`: the session must be there.
    Raises:
        EngineError: the server lacks something; the text is for the user.
        LookupError: there is no such session to take over.
    """
    from .engine import Engine, ensure_channel_type
    from .session import RuntimeSession

    with _lock:
        _offer_public_module()
        session = _sessions.get(session_id)
        if session is None and options.get("take_over"):
            raise LookupError(f"no session {session_id}")
        if session is None:
            engine = Engine()
            ensure_channel_type()
            if options.get("private"):
                namespace = {"__name__": "__main__", "__doc__": None, "__builtins__": builtins}
            own_files = (f"<{__name__}>", __file__.rpartition("__init__")[0], "<dh_kernel")
            session = RuntimeSession(session_id, namespace, engine, own_files, options, left_behind_sessions)
            session.on_close(lambda: _sessions.pop(session_id, None) and None)
            _sessions[session_id] = session
    return session.channel


def left_behind_sessions() -> list[dict[str, Any]]:
    """The sessions that nobody is connected to and that have something to tell: `events.DetachedSession` as JSON data."""
    return [each.description for each in list(_sessions.values()) if each.is_left_behind]


def _offer_public_module() -> None:
    """Make `dh_kernel.display` importable in cells on a server where dh-kernel is not installed."""
    from . import front

    if "dh_kernel" in sys.modules or importlib.util.find_spec("dh_kernel") is not None:
        return
    package, module = types.ModuleType("dh_kernel"), types.ModuleType("dh_kernel.display")
    package.__path__ = []
    for name in ("DisplayHandle", "clear_output", "display", "update_display"):
        setattr(module, name, getattr(front, name))
    package.display = module  # type: ignore[attr-defined]
    sys.modules.update({"dh_kernel": package, "dh_kernel.display": module})
