"""What a user is told when a session or a server is gone: why, and whether variables are gone too, or that is not known yet.

Pure. Neighbours: `kernel` (tells it). What is left depends on whose server it was, and on whether it is still the same one.
"""

from __future__ import annotations

from typing import Any

from dh_kernel.errors import (
    DhKernelError,
    ServerDiedError,
    ServerRestartedError,
    SessionDetachedError,
    SessionEndedError,
    SessionLostError,
)

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
    return _sentence(_left(error, attached, private), automatic)


def when_gone(*, attached: bool, automatic: bool) -> str:
    """The same where it is certain that the variables are gone, from the next cell's view."""
    return _sentence(_GONE if attached else _GONE_WITH_SERVER, automatic)


def _sentence(left: str, automatic: bool) -> str:
    return f"The next cell gets {left}" if automatic else f"Run %dh restart for {left}"


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


class Notices:
    """What the cells have to say of the latest loss: those that ran, and the next one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """There is nothing to say: the user has asked for another server."""
        self._text = self._if_shown = ""
        self._idle: Any = None
        self._server: str | None = None

    def lose(self, session: Any, error: DhKernelError, *, attached: bool, private: bool, automatic: bool) -> DhKernelError:
        """A session is gone, or one that was to come: the error for the cells that ran in it. `shown` says if there were any.

        Args:
            session: its `server` names the server's process; None where there was none yet.
        """
        what = at_loss(error, attached=attached, private=private, automatic=automatic)
        unknown = session is not None and is_open(error, attached=attached, private=private)
        self._server = session.server if unknown else None
        fresh = FRESH if isinstance(error, ServerDiedError) else ""
        self._text, self._if_shown, self._idle = f"{error}\n{fresh or what}", fresh, session
        return type(error)(f"{error}\n{GOES_ON if isinstance(error, SessionDetachedError) else what}")

    def shown(self) -> None:
        """A cell has said it."""
        self._text, self._idle = self._if_shown, None

    def for_next(self, session: Any) -> list[str]:
        """What the next cell has to say, in its session; nothing if that is the lost one, come back."""
        notes = [self._text] if self._text else []
        if self._server is not None:
            notes.append(afterwards(session.endpoint.address, self._server, session.server))
        came_back = self._idle is not None and self._idle is session
        self.forget()
        return [] if came_back else notes
