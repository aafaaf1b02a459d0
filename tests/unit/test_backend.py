"""A kernel's server and session when their beginnings and ends go wrong, with stand-ins; real ones are in tests/protocol."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from dh_kernel import backend as module
from dh_kernel.backend import Backend
from dh_kernel.errors import (
    ConnectError,
    DhKernelError,
    ServerDiedError,
    ServerStartError,
    SessionDetachedError,
    SessionLostError,
)
from dh_kernel.model import Endpoint
from dh_kernel.settings import Settings

ATTACHED = Settings(endpoint=Endpoint("old", 1))


class Session:
    """What the backend uses of one."""

    def __init__(self, name: str, reattaching: Exception | None = None) -> None:
        self.name, self.reattaching, self.closed, self.reattached = name, reattaching, False, 0
        self.endpoint, self.info, self.connected_at = Endpoint(name, 1), None, 0.0

    def reattach(self) -> None:
        self.reattached += 1
        if self.reattaching is not None:
            raise self.reattaching

    def close(self, *, say_goodbye: bool = True) -> None:
        self.closed = True


class Process:
    """What the backend uses of a launched server."""

    def __init__(self, *, dies: bool = False) -> None:
        self.dies, self.stopped, self.death = dies, threading.Event(), None
        self.version, self.archive, self.archive_used, self.options = None, None, False, None
        self.is_stopped = False

    def wait_death(self, timeout_s: float) -> bool:
        return self.dies

    def last_words(self) -> Any:
        return None

    def stop(self, timeout_s: float = 5.0) -> None:
        self.stopped.set()


class Scene:
    """A backend whose launches and sessions are these lists' next ones; an error is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
        self.launches: list[Any] = []
        self.sessions: list[Any] = []
        self.asked: list[str] = []
        monkeypatch.setattr(module, "launch", lambda settings: None if settings.endpoint else _next(self.launches))
        monkeypatch.setattr(module, "describe", lambda words, options: "it was killed by SIGKILL")
        monkeypatch.setattr(Backend, "_open_blocking", lambda *arguments: _next(self.sessions))
        with monkeypatch.context() as patch:  # nothing begins by itself
            patch.setattr(Backend, "start", lambda backend: None)
            self.backend = Backend(settings, None, None, SimpleNamespace(on_gone=lambda session, error: False))  # type: ignore[arg-type]
        self.backend.ask = self._ask

    async def _ask(self, kind: str, timeout_s: float | None = None, **fields: Any) -> dict[str, Any]:
        self.asked.append(kind)
        return {"ok": True}

    async def lost_while_idle(self, reattaching: Exception | None = None) -> Session:
        lost = Session("old", reattaching)
        self.sessions.append(lost)
        assert await self.backend.session() is lost
        self.backend._gone(SessionDetachedError("no connection"))
        return lost


def _next(those: list[Any]) -> Any:
    found = those.pop(0)
    if isinstance(found, BaseException):
        raise found
    return found


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    made = Scene(monkeypatch, getattr(request, "param", Settings()))
    yield made
    await made.backend.close()


attached = pytest.mark.parametrize("scene", [ATTACHED], indirect=True)


@attached
async def test_a_session_that_was_lost_while_idle_is_resumed_when_the_server_is_back(scene: Scene) -> None:
    lost = await scene.lost_while_idle(ConnectError("nobody answers"))
    with pytest.raises(ConnectError):
        await scene.backend.session()
    lost.reattaching = None
    assert await scene.backend.session() is lost
    assert lost.reattached == 2


@attached
async def test_another_server_leaves_nothing_of_the_lost_session(scene: Scene) -> None:
    lost = await scene.lost_while_idle(ConnectError("nobody answers"))
    scene.launches, scene.sessions = [Process(), Process()], [Session("mine"), Session("next")]
    assert (await scene.backend.change(replace(ATTACHED, endpoint=None))).name == "mine"
    scene.backend._gone(ServerDiedError("killed"))
    assert (await scene.backend.session()).name == "next"
    assert lost.reattached == 0
    assert lost.closed


@attached
async def test_a_restart_removes_what_the_lost_session_had_assigned(scene: Scene) -> None:
    lost = await scene.lost_while_idle()
    scene.sessions = [Session("fresh")]
    assert (await scene.backend.restart()).name == "fresh"
    assert lost.reattached == 1
    assert scene.asked.count("forget") == 1
    assert lost.closed


@attached
async def test_a_restart_that_cannot_reach_the_lost_session_begins_anew(scene: Scene) -> None:
    lost = await scene.lost_while_idle(ConnectError("nobody answers"))
    scene.sessions = [ConnectError("nobody answers"), Session("fresh")]
    with pytest.raises(ConnectError):
        await scene.backend.restart()
    assert (await scene.backend.session()).name == "fresh"
    assert lost.reattached == 1


@pytest.mark.parametrize("error", [ConnectError("nobody answers"), SessionLostError("gone"), RuntimeError("a bug")])
async def test_a_server_in_which_no_session_opens_is_ended(scene: Scene, error: Exception) -> None:
    first, second = Process(), Process()
    scene.launches, scene.sessions = [first, second], [error, Session("mine")]
    with pytest.raises(DhKernelError, match=str(error)):
        await scene.backend.session()
    assert await asyncio.to_thread(first.stopped.wait, 10)
    assert (await scene.backend.session()).name == "mine"
    assert not second.stopped.is_set()


async def test_a_death_while_a_session_opens_is_told_as_a_death(scene: Scene) -> None:
    scene.launches, scene.sessions = [Process(dies=True)], [ConnectError("nobody answers; check DH_KERNEL_SERVER")]
    with pytest.raises(ServerDiedError, match="SIGKILL"):
        await scene.backend.session()


async def test_a_launched_server_whose_session_is_lost_is_ended(scene: Scene) -> None:
    process = Process()
    scene.launches, scene.sessions = [process], [Session("mine")]
    await scene.backend.session()
    scene.backend._gone(SessionLostError("no longer known"))
    assert await asyncio.to_thread(process.stopped.wait, 10)


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file or directory"), MemoryError("none left")])
async def test_a_start_that_fails_in_an_odd_way_is_told_and_tried_again(scene: Scene, error: Exception) -> None:
    scene.launches, scene.sessions = [error, Process()], [Session("mine")]
    with pytest.raises(ServerStartError, match=type(error).__name__):
        await scene.backend.session()
    assert (await scene.backend.session()).name == "mine"


async def test_nothing_waits_for_a_launch_that_takes_long(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Java may be asked for its version, a spare server may not answer."""
    looped, process = threading.Event(), Process()

    def slow(settings: Settings) -> Process:
        assert looped.wait(30), "the event loop stood still"
        return process

    monkeypatch.setattr(module, "launch", slow)
    scene.sessions = [Session("mine")]
    asyncio.get_running_loop().call_later(0.01, looped.set)
    assert (await scene.backend.session()).name == "mine"


async def test_a_launch_that_nobody_waits_for_any_more_is_undone(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, process = threading.Event(), threading.Event(), Process()

    def slow(settings: Settings) -> Process:
        begun.set()
        go_on.wait(30)
        return process

    monkeypatch.setattr(module, "launch", slow)
    opening = asyncio.ensure_future(scene.backend.session())
    await asyncio.to_thread(begun.wait, 30)
    await scene.backend.close()
    go_on.set()
    with pytest.raises((asyncio.CancelledError, DhKernelError)):
        await opening
    assert await asyncio.to_thread(process.stopped.wait, 10)
