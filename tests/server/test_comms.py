"""Comms of sessions on real servers: whose they are, where the `comm` package is and where it is not."""

from __future__ import annotations

import itertools
from typing import Any

from sessions import Client, Console, Kind, Run

from dh_kernel.session.events import CommSent

_numbers = itertools.count(1)
REGISTER = """
import comm
def opened(c, message):
    c.on_msg(lambda m: c.send({'echo': m['content']['data'], 'size': len(m['buffers'][0])}, buffers=m['buffers']))
comm.get_comm_manager().register_target('TARGET', opened)
"""


def has_comm(client: Client) -> bool:
    """Whether the server's Python has the package."""
    return client.value("__import__('importlib.util').util.find_spec('comm') is not None") == "True"


def post(client: Client, kind: str, comm_id: str, *, buffers: Any = (), lane: str | None = None, **content: Any) -> Run:
    """Send a message of the front end to a comm and wait until it has been dealt with."""
    run = client.run_of(f"m{next(_numbers)}")
    message = {"msg_type": kind, "content": {"comm_id": comm_id, "data": {}, **content}, "metadata": {}}
    client.session.send("comm", buffers, cell=run.id, lane=lane, parent={"msg_id": run.id}, message=message)
    return client.finish(run)


def sent(run: Run) -> list[tuple[str, Any]]:
    """What comms have sent."""
    return [(event.msg_type, event.content.get("data")) for event in run.events if isinstance(event, CommSent)]


def test_front_ends_are_answered_whether_the_package_is_there_or_not(client: Client) -> None:
    opened = post(client, "comm_open", "x", target_name="nobody")
    assert sent(opened) == [("comm_close", {})]
    there = has_comm(client)
    assert (opened.text("stderr") != "") == there  # the package says that there is no such target, as in ipykernel
    for kind in ("comm_msg", "comm_close"):
        run = post(client, kind, "x")
        assert sent(run) == []
        assert run.text() == ""
        assert (run.text("stderr") != "") == there
    assert client.ask("comm_info", target=None) == {"comms": {}}


def test_sessions_share_targets_and_not_comms(kind: Kind, client: Client, fresh: str) -> None:
    """Libraries register their targets once, when they are imported."""
    if not has_comm(client):
        assert "ModuleNotFoundError" in str(client.run("import comm").error)
        return
    other = kind.open()
    try:
        client.ok(REGISTER.replace("TARGET", fresh))
        for session in (client, other):
            assert sent(post(session, "comm_open", fresh, target_name=fresh)) == []
        assert client.ask("comm_info", target=fresh) == {"comms": {fresh: {"target_name": fresh}}}
        post(client, "comm_close", fresh)
        assert client.ask("comm_info", target=fresh) == {"comms": {}}
        assert sent(post(client, "comm_msg", fresh, data={"a": 1}, buffers=[b"1"])) == []
        reply = post(other, "comm_msg", fresh, data={"a": 1}, buffers=[b"12"])
        assert sent(reply) == [("comm_msg", {"echo": {"a": 1}, "size": 2})]
    finally:
        other.close()


def test_a_comm_sends_to_the_session_that_made_it(kind: Kind, client: Client, fresh: str) -> None:
    if not has_comm(client):
        assert sent(client.run("import comm")) == []
        return
    other = kind.open()
    try:
        made = client.ok(f"import comm\nshared_{fresh} = comm.create_comm(target_name='front')")
        assert [kind for kind, _ in sent(made)] == ["comm_open"]
        by_other = other.ok(f"shared_{fresh}.send({{'from': 'other'}})\nshared_{fresh}.close()")
        assert sent(by_other) == []
        client.wait(lambda: sent(made)[-1][0] == "comm_close", "the messages in the session that made the comm")
        assert sent(made)[1:] == [("comm_msg", {"from": "other"}), ("comm_close", {})]
        assert client.ask("comm_info", target=None) == {"comms": {}}
    finally:
        other.close()


def test_code_of_no_cell_makes_comms_in_a_launched_server_only(kind: Kind, client: Client, console: Console) -> None:
    """On a server that others use too, their code has nothing to do with a kernel's front end."""
    if not has_comm(client):
        return
    run = client.ok("1")
    console.session.run_script("import comm as _comm\n_comm.create_comm(target_name='outside')\ndel _comm")
    found = client.ask("comm_info", target="outside")["comms"]
    assert len(found) == (1 if kind.launched else 0)
    assert [kind for kind, _ in sent(run)] == (["comm_open"] if kind.launched else [])


def test_code_that_outlives_its_session_sends_to_nobody(kind: Kind, client: Client, fresh: str) -> None:
    if not has_comm(client):
        return
    other = kind.open()
    other.ok(f"import comm\nleft_{fresh} = comm.create_comm(target_name='front')")
    other.close()
    client.ok(f"left_{fresh}.send({{'late': 1}}); left_{fresh}.close()")


def test_each_lane_handles_its_messages(client: Client, fresh: str) -> None:
    if not has_comm(client):
        return
    client.ok(REGISTER.replace("TARGET", fresh))
    post(client, "comm_open", fresh, target_name=fresh)
    cell = client.send("import threading, time\nhold = threading.Event()\nprint('holds')\nhold.wait(60)")
    client.wait_for_text(cell, "holds")
    for n in range(20):
        reply = post(client, "comm_msg", fresh, data={"n": n}, buffers=[b"x" * n], lane="other")
        assert sent(reply) == [("comm_msg", {"echo": {"n": n}, "size": n})]
    client.ok("hold.set()", lane="other")
    client.finish(cell)
