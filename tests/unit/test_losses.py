"""What a user is told of variables when a session is gone, for each way in which it can be."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from dh_kernel.errors import (
    AuthenticationError,
    DhKernelError,
    ServerDiedError,
    ServerRestartedError,
    SessionDetachedError,
    SessionEndedError,
    SessionLostError,
)
from dh_kernel.losses import FRESH, GOES_ON, Notices, afterwards, at_loss, is_open

LOST, ENDED, RESTARTED, DIED = SessionLostError("x"), SessionEndedError("x"), ServerRestartedError("x"), ServerDiedError("x")


@pytest.mark.parametrize(
    ("error", "attached", "private", "says"),
    [
        (DIED, False, False, "are gone"),
        (LOST, False, False, "are gone"),
        (ENDED, False, False, "are gone"),
        (RESTARTED, True, False, "are gone"),
        (RESTARTED, True, True, "are gone"),
        (ENDED, True, False, "global variables are still there"),
        (ENDED, True, True, "this kernel's own variables are gone"),
        (LOST, True, True, "are gone"),
        (LOST, True, False, "says whether the variables are still there"),
        (AuthenticationError("x"), True, False, "are gone"),
    ],
)
def test_what_is_said_at_once(error: DhKernelError, attached: bool, private: bool, says: str) -> None:
    assert says in at_loss(error, attached=attached, private=private)
    assert is_open(error, attached=attached, private=private) == ("says whether" in says)


def test_what_is_said_when_it_is_known() -> None:
    assert "still there" in afterwards("h:1", "a", "a")
    assert "was restarted" in afterwards("h:1", "a", "b")
    assert "may be gone" in afterwards("h:1", "", "b")  # a runtime that does not name its server


def session(server: str = "s1") -> SimpleNamespace:
    return SimpleNamespace(server=server, endpoint=SimpleNamespace(address="db:1"))


def test_a_death_that_a_cell_has_shown_is_said_once_more_in_short() -> None:
    notices = Notices()
    gone = notices.lose(session(), DIED, attached=False, private=False, automatic=True)
    assert "variables of this one are gone" in str(gone)
    notices.shown()
    assert notices.for_next(session("s2")) == [FRESH]
    assert notices.for_next(session("s2")) == [], "only once"


def test_a_loss_that_no_cell_has_shown_is_said_in_the_next() -> None:
    notices = Notices()
    notices.lose(session(), LOST, attached=True, private=False, automatic=True)
    first, then = notices.for_next(session())
    assert first.startswith("x\nThe next cell gets a fresh session, and says whether")
    assert then == "A fresh session on the same server at db:1: its global variables are still there."


def test_an_idle_session_that_comes_back_is_not_spoken_of() -> None:
    notices, lost = Notices(), session()
    notices.lose(lost, SessionDetachedError("x"), attached=True, private=False, automatic=True)
    assert notices.for_next(lost) == []


def test_a_detached_cell_is_told_how_it_is_picked_up() -> None:
    notices = Notices()
    gone = notices.lose(session(), SessionDetachedError("x"), attached=True, private=False, automatic=True)
    assert type(gone) is SessionDetachedError
    assert str(gone) == f"x\n{GOES_ON}"
    notices.shown()
    assert notices.for_next(session("s2")) == ["The server at db:1 was restarted: the variables are gone."]


def test_another_server_by_wish_is_no_loss() -> None:
    notices = Notices()
    notices.lose(session(), DIED, attached=False, private=False, automatic=False)
    notices.forget()
    assert notices.for_next(session()) == []
