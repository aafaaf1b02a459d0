"""What a user is told of variables when a session or a server is gone: that they are too, or not, or that it is not known yet.

Pure. Neighbours: `kernel` (tells it). What is left depends on whose server it was, and on whether it is still the same one.
"""

from __future__ import annotations

from dh_kernel.errors import DhKernelError, ServerRestartedError, SessionEndedError, SessionLostError

FRESH = "This is a fresh server: the variables of the former one are gone."
GOES_ON = (
    "The server goes on with the cell where it can. `%dh reattach` picks it up, with what it has put out meanwhile; other "
    "cells get a fresh session."
)
_GONE_WITH_SERVER = "a fresh server; the variables of this one are gone."
_GONE = "a fresh session; the variables of this one are gone."
_THERE = "a fresh session on the same server; its global variables are still there."
_PRIVATE = "a fresh session on the same server; this kernel's own variables are gone."
_UNKNOWN = "a fresh session, and says whether the variables are still there."


def at_loss(error: DhKernelError, *, attached: bool, private: bool, automatic: bool = True) -> str:
    """What to say when it happens.

    Args:
        attached: the server is not the kernel's own.
        private: the session's variables were its own, not the server's global ones.
        automatic: the next cell gets a session, and the user need not ask for it.
    """
    left = _left(error, attached, private)
    if automatic:
        return f"The next cell gets {left}"
    return f"Run %dh restart for {left}"


def _left(error: DhKernelError, attached: bool, private: bool) -> str:
    if not attached:
        return _GONE_WITH_SERVER
    if not isinstance(error, SessionLostError) or isinstance(error, ServerRestartedError):
        return _GONE
    if private:
        return _PRIVATE if isinstance(error, SessionEndedError) else _GONE
    return _THERE if isinstance(error, SessionEndedError) else _UNKNOWN


def is_open(error: DhKernelError, *, attached: bool, private: bool) -> bool:
    """Whether what became of the variables is known only when the next session is there."""
    return _left(error, attached, private) == _UNKNOWN


def afterwards(address: str, before: str, now: str) -> str:
    """What to say once the next session is there.

    Args:
        before: names the former server's process, now: that of the present one.
    """
    if before and before == now:
        return f"A fresh session on the same server at {address}: its global variables are still there."
    if before and now:
        return f"The server at {address} was restarted: the variables are gone."
    return f"A fresh session on the server at {address}: its variables may be gone."
