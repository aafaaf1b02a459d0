"""What the kernel says beside a cell's own output, and where: the kernel over a backend that does nothing."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from dh_kernel.errors import ServerDiedError
from dh_kernel.kernel import DeephavenKernel
from dh_kernel.model import Endpoint
from dh_kernel.runs import Run
from dh_kernel.settings import Settings

WARNING = "The key file /key can be read by other users: chmod 600 /key"
DESCRIPTION = {"version": "1", "launched": False}


class FakeSession:
    """Keeps what is published."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def send(self, socket: Any, kind: str, content: dict[str, Any], **more: Any) -> None:
        assert kind == "stream"
        self.said.append((content["name"], content["text"]))

    def take(self) -> list[tuple[str, str]]:
        """What has been said since."""
        said, self.said = self.said, []
        return said


@pytest.fixture
def kernel() -> Any:
    """One whose settings have a warning."""

    class Spoken(DeephavenKernel):
        session: Any = FakeSession()

    made: Any = Spoken()
    settings = Settings(Endpoint("h", 1), warnings=(WARNING,))
    made.backend = SimpleNamespace(settings=settings, description=DESCRIPTION, current=None)
    return made


def run(**wishes: Any) -> Run:
    """A request; `silent` is the message's own, the rest are wishes about it."""
    silent = wishes.pop("silent", False)
    header = {"msg_type": "execute_request", "msg_id": "1"}
    made = Run("c1", {"header": header, "content": {"silent": silent}, "metadata": {"dh_kernel": wishes}}, None, 1)
    made.session = SimpleNamespace(left_behind=())
    return made


async def test_warnings_about_the_settings_show_once_in_the_first_cell_that_shows(kernel: Any) -> None:
    """What a front end runs for itself does not use them up."""
    kernel._tell(run(silent=True))
    assert kernel.session.take() == []
    kernel._tell(run())
    assert kernel.session.take() == [("stderr", f"{WARNING}\n")]
    kernel._tell(run())
    assert kernel.session.take() == []


async def test_who_wants_no_notes_among_the_output_has_them_from_the_info(kernel: Any) -> None:
    """As a run on the command line does, whose notebooks are kept."""
    kernel._tell(run(silent=True, quiet=True))
    kernel._tell(run())
    assert kernel.session.take() == []
    assert kernel.kernel_info["deephaven"] == {**DESCRIPTION, "warnings": [WARNING]}


async def test_without_a_server_the_info_has_nothing_of_one(kernel: Any) -> None:
    kernel.backend.description = None
    assert kernel.kernel_info["deephaven"] is None


@pytest.mark.parametrize(("quiet", "said"), [(False, "killed\nRun %dh restart"), (True, "killed")])
async def test_a_run_that_wants_no_notes_gets_an_error_without_advice(kernel: Any, quiet: bool, said: str) -> None:
    ended = run(quiet=quiet)
    kernel._runs.add(ended)
    kernel.backend.settings = Settings(restart="never")
    assert kernel.on_gone(ended.session, ServerDiedError("killed"))
    text = str(ended.gone.result())
    assert text == said if quiet else text.startswith(said)


async def test_a_cell_gets_its_reply_also_where_the_kernel_itself_fails(kernel: Any) -> None:
    async def broken(run: Run) -> None:
        raise ZeroDivisionError("a bug")

    kernel._wait_for_session, kernel.log = broken, logging.getLogger(__name__)
    done = await kernel._run_to_end(run(), "execute", {})
    assert done.error["evalue"] == "the kernel itself failed: ZeroDivisionError: a bug. Its log has the traceback."
