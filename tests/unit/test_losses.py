"""What a user is told of variables when a session is gone, for each way in which it can be."""

from __future__ import annotations

import pytest

from dh_kernel.errors import (
    AuthenticationError,
    DhKernelError,
    ServerDiedError,
    ServerRestartedError,
    SessionEndedError,
    SessionLostError,
)
from dh_kernel.losses import afterwards, at_loss, is_open

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
