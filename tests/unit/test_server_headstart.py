"""What a start does ahead, without a server: nobody is disturbed by what fails, and who waits, waits for all of it."""

from __future__ import annotations

import threading

from dh_kernel.server.headstart import HeadStart, _import_all, _quietly


class Formulas:
    """So many that the compiler is not begun with."""

    any = True

    def __init__(self) -> None:
        self.kept = 0

    def keep(self) -> None:
        self.kept += 1
        raise OSError("no room")


def test_who_waits_waits_for_all_of_it() -> None:
    ahead = HeadStart(Formulas())
    go, done = threading.Event(), []
    for number in range(2):
        ahead._begin(f"task-{number}", lambda number=number: (go.wait(30), done.append(number)))  # type: ignore[misc]
    waiting = threading.Thread(target=ahead.wait)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert not done
    go.set()
    waiting.join(30)
    assert not waiting.is_alive()
    assert sorted(done) == [0, 1]


def test_what_fails_is_not_told() -> None:
    formulas = Formulas()
    HeadStart(formulas).end()
    assert formulas.kept == 1
    _quietly(lambda: _import_all(("there_is_no_such_module",)))
