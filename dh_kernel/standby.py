"""Spare servers by hand: `jupyter deephaven standby start|stop|status`.

Neighbours: `server.standby` (talks to the keepers), `launching`, `settings`; `cli` prints. Refuses to know how they are kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from dh_kernel.errors import ServerStartError, SettingsError
from dh_kernel.kernelspecs import take_settings_of
from dh_kernel.launching import keep_standby, provide_environment
from dh_kernel.server import standby
from dh_kernel.settings import VARIABLES

_READY_WITHIN_S = 900.0
_LOOK_EVERY_S = 0.2


@dataclass(frozen=True)
class State:
    """All spares of this user here. `claimed`: servers that kernels have got and still use. `problem`: why there is none."""

    waiting: int = 0
    making: int = 0
    claimed: int = 0
    pids: tuple[int, ...] = ()
    gone_after_s: float | None = None
    problem: str = ""


def status() -> State:
    """What there is now."""
    answers = list(filter(None, (standby.ask(path, {"op": "status"}) for path in standby.sockets())))
    left = [answer["idle_limit_s"] - answer["idle_s"] for answer in answers if answer["idle_limit_s"] is not None]
    return State(
        waiting=sum(len(answer["waiting"]) for answer in answers),
        making=sum(answer["making"] for answer in answers),
        claimed=sum(answer["claimed"] for answer in answers),
        pids=tuple(spare["pid"] for answer in answers for spare in answer["waiting"]),
        gone_after_s=round(max(left), 1) if left else None,
        problem="; ".join(filter(None, (answer["problem"] for answer in answers))),
    )


def stop() -> State:
    """End the spares; servers in use stay."""
    for path in standby.sockets():
        standby.ask(path, {"op": "stop"})
        standby.tidy(path)
    return status()


def start(kernel: str | None, progress: Callable[[str], None]) -> State:
    """Have the spares made that the settings ask for, at least one, and wait until one is there; `problem` says why none is.

    Args:
        kernel: take the settings and the environment of this kernelspec.
        progress: called with a line for each step of an installation that is needed first.
    Raises:
        SettingsError, ServerStartError: with the next step.
    """
    settings = take_settings_of(kernel)
    if settings.endpoint is not None:
        raise SettingsError(f"these settings attach to {settings.endpoint.address}: there is no server to start ahead.")
    if settings.port:
        raise SettingsError(
            f"a server on port {settings.port} cannot wait while another uses it: leave {VARIABLES['port']} at 0."
        )
    if not standby.POSSIBLE:
        raise ServerStartError("Spare servers need file descriptors that can be handed over, which this system does not have.")
    provide_environment(settings, progress)
    if not keep_standby(replace(settings, standby=max(settings.standby, 1))):
        raise ServerStartError("The keeper of spare servers did not start: dh-kernel doctor tells what is wrong.")
    deadline = time.monotonic() + _READY_WITHIN_S
    state = status()
    while not state.waiting and not state.problem and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
        state = status()
    if not state.waiting and not state.problem:
        step = "One is still being made: `standby status` tells." if state.making else "Try `standby start` again."
        state = replace(state, problem=f"not ready within {_READY_WITHIN_S:g} s. {step}")
    return state


def as_json(state: State) -> str:
    """For programs."""
    content: dict[str, Any] = asdict(state)
    return json.dumps(content, indent=2)


def as_text(state: State) -> str:
    """For people."""
    lines = [f"{state.waiting} waiting, {state.making} being made, {state.claimed} in use by kernels"]
    if state.gone_after_s is not None and (state.waiting or state.making):
        lines.append(f"They end in {state.gone_after_s / 60:.0f} minutes unless a kernel is started.")
    if state.problem:
        lines.append(f"{'One is missing' if state.waiting else 'There is none'}: {state.problem}")
    return "\n".join(lines)
