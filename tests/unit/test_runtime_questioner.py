"""Questions are answered in order; one that takes too long is given up, and does not hold up the others."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dh_kernel.runtime import questioner as module
from dh_kernel.runtime.questioner import Questioner

WAIT_S = 60.0


class Desk:
    """Answers questions, unless they have an event to wait for; keeps what happened."""

    def __init__(self, limit_s: float | None) -> None:
        self.answered: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.given_up: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.stuck: list[threading.Event] = []
        self.questioner = Questioner("test-questions", self.answer, limit_s=limit_s, give_up=self.give_up)

    def answer(self, message: dict[str, Any]) -> None:
        if (event := message.get("wait_for")) is not None:
            event.wait(WAIT_S)
        self.answered.put(message["number"])

    def give_up(self, message: dict[str, Any]) -> None:
        self.given_up.put(message["number"])

    def ask(self, number: int, *, stuck: bool = False) -> threading.Event:
        event = threading.Event()
        if stuck:
            self.stuck.append(event)
        self.questioner.put({"number": number, "wait_for": event if stuck else None})
        return event

    def close(self) -> None:
        for event in self.stuck:
            event.set()
        self.questioner.close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(0.2)
    yield made
    made.close()


def test_questions_are_answered_in_order(desk: Desk) -> None:
    for number in range(100):
        desk.ask(number)
    assert [desk.answered.get(timeout=WAIT_S) for _ in range(100)] == list(range(100))
    assert desk.given_up.empty()


def test_a_stuck_question_is_given_up_and_the_next_are_answered(desk: Desk) -> None:
    first = desk.ask(1, stuck=True)
    desk.ask(2)
    assert desk.given_up.get(timeout=WAIT_S) == 1
    assert desk.answered.get(timeout=WAIT_S) == 2
    desk.ask(3, stuck=True)
    assert desk.given_up.get(timeout=WAIT_S) == 3
    first.set()
    assert desk.answered.get(timeout=WAIT_S) == 1  # late: the receiver's to ignore
    desk.ask(4)
    assert desk.answered.get(timeout=WAIT_S) == 4


def test_the_late_thread_ends(desk: Desk) -> None:
    event = desk.ask(1, stuck=True)
    assert desk.given_up.get(timeout=WAIT_S) == 1
    threads = [thread for thread in threading.enumerate() if thread.name == "test-questions"]
    assert len(threads) == 2
    event.set()
    assert desk.answered.get(timeout=WAIT_S) == 1
    desk.ask(2)
    assert desk.answered.get(timeout=WAIT_S) == 2
    threads[0].join(WAIT_S)
    assert [thread.is_alive() for thread in threads] == [False, True]


def test_when_too_many_are_stuck_all_is_given_up_until_one_returns(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_STUCK", 2)
    events = [desk.ask(number, stuck=True) for number in (1, 2)]
    assert [desk.given_up.get(timeout=WAIT_S) for _ in range(2)] == [1, 2]
    desk.ask(3)
    assert desk.given_up.get(timeout=WAIT_S) == 3
    events[0].set()
    assert desk.answered.get(timeout=WAIT_S) == 1
    desk.ask(4)
    assert desk.answered.get(timeout=WAIT_S) == 4


def test_without_a_limit_an_answer_may_take_its_time() -> None:
    desk = Desk(None)
    event = desk.ask(1, stuck=True)
    desk.ask(2)
    event.set()
    assert [desk.answered.get(timeout=WAIT_S) for _ in range(2)] == [1, 2]
    assert desk.given_up.empty()
    desk.close()


def test_closing_ends_its_threads(desk: Desk) -> None:
    desk.ask(1)
    assert desk.answered.get(timeout=WAIT_S) == 1
    desk.questioner.close()
    for thread in threading.enumerate():
        if thread.name.startswith("test-questions"):
            thread.join(WAIT_S)
            assert not thread.is_alive()
