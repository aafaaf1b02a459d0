"""Frames survive the wire whole, and each arrives exactly once, in order, whatever breaks between the ends."""

from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dh_kernel.runtime.wire import MAGIC, Inbox, Outbox, WireError, pack, unpack

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
HEADERS = st.dictionaries(st.text().filter(lambda key: key != "buffers"), JSON, max_size=5)
BUFFERS = st.lists(st.binary(max_size=200), max_size=4)


@settings(deadline=None)
@given(HEADERS, BUFFERS)
def test_a_frame_comes_back_as_it_was(header: dict[str, Any], buffers: list[bytes]) -> None:
    assert unpack(pack(header, buffers)) == (header, buffers)


def test_text_of_every_kind_comes_back() -> None:
    """Also lone surrogates: JSON in ASCII spells them out."""
    header = {"text": "é \U0001f600 \ud800 \0 \u2028"}
    assert unpack(pack(header))[0] == header
    assert pack(header).isascii()


def test_buffers_may_be_views() -> None:
    assert unpack(memoryview(pack({"a": 1}, [memoryview(b"xyz")]))) == ({"a": 1}, [b"xyz"])


@settings(deadline=None)
@given(HEADERS, BUFFERS, st.data())
def test_a_cut_frame_is_refused(header: dict[str, Any], buffers: list[bytes], data: st.DataObject) -> None:
    frame = pack(header, buffers)
    end = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(WireError):
        unpack(frame[:end])


def test_a_frame_that_is_too_long_is_refused() -> None:
    with pytest.raises(WireError):
        unpack(pack({"a": 1}, [b"xyz"]) + b"!")


@settings(deadline=None)
@given(st.binary(max_size=64).filter(lambda data: not data.startswith(MAGIC)))
def test_another_protocol_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(WireError, match="kernel and server runtime differ"):
        unpack(data)


@settings(deadline=None)
@given(st.binary(max_size=64))
def test_noise_behind_the_magic_is_refused(data: bytes) -> None:
    """Whatever follows: an error of ours or, by chance, a frame, and no other exception."""
    try:
        header, _ = unpack(MAGIC + data)
    except WireError:
        return
    assert isinstance(header, dict)


def test_a_header_that_is_no_object_is_refused() -> None:
    for raw in (b"[]", b"1", b"{}", b'{"buffers": 3}', b'{"buffers": ["x"]}'):
        with pytest.raises(WireError):
            unpack(MAGIC + len(raw).to_bytes(4, "big") + raw)


def test_the_outbox_numbers_from_one_and_keeps_until_acknowledged() -> None:
    outbox = Outbox()
    frames = [outbox.frame({"kind": "x", "n": n}, (), (), 7) for n in range(4)]
    assert [unpack(frame)[0]["seq"] for frame, _ in frames] == [1, 2, 3, 4]
    assert unpack(frames[0][0])[0]["ack"] == 7
    assert outbox.unacked_bytes == sum(len(frame) for frame, _ in frames)
    outbox.acknowledge(3)
    assert list(outbox.unacknowledged()) == frames[3:]
    assert outbox.unacked_bytes == len(frames[3][0])
    outbox.acknowledge(1)
    assert list(outbox.unacknowledged()) == frames[3:], "an older acknowledgement takes nothing back"
    outbox.acknowledge(4)
    assert outbox.unacked_bytes == 0


def test_references_stay_with_their_frame() -> None:
    outbox, table = Outbox(), object()
    outbox.frame({"kind": "x"}, (), [table], 0)
    assert [references for _, references in outbox.unacknowledged()] == [[table]]


def test_the_inbox_takes_each_once_and_notices_a_gap() -> None:
    inbox = Inbox()
    assert [inbox.accept(seq) for seq in (1, 1, 2, 1, 3)] == [True, False, True, False, True]
    with pytest.raises(WireError, match="frame 5 follows 3"):
        inbox.accept(5)
    assert inbox.last_seq == 3


@settings(deadline=None)
@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=200))
def test_acknowledgements_are_due_in_time(sizes: list[int]) -> None:
    """Never more unacknowledged than one step of each measure, so that a window of several steps never stalls for good."""
    inbox = Inbox()
    pending_bytes = pending_frames = 0
    for size in sizes:
        pending_bytes, pending_frames = pending_bytes + size, pending_frames + 1
        if inbox.consumed(size):
            pending_bytes = pending_frames = 0
        assert pending_bytes < Inbox.ACK_EVERY_BYTES
        assert pending_frames < Inbox.ACK_EVERY_FRAMES


class Link:
    """Both ends of one direction, and a stream that loses what is under way when it breaks."""

    def __init__(self) -> None:
        self.outbox, self.inbox = Outbox(), Inbox()
        self.stream: deque[bytes] = deque()
        self.sent: list[int] = []
        self.taken: list[int] = []

    def send(self) -> None:
        self.sent.append(len(self.sent))
        self.stream.append(self.outbox.frame({"n": self.sent[-1]}, (), (), 0)[0])

    def deliver(self) -> None:
        if self.stream:
            header, _ = unpack(self.stream.popleft())
            if self.inbox.accept(header["seq"]):
                self.taken.append(header["n"])

    def acknowledge(self) -> None:
        self.outbox.acknowledge(self.inbox.last_seq)

    def break_and_resume(self) -> None:
        """The new stream carries again what has not been acknowledged, as the receiver may have more than the sender knows."""
        self.stream = deque(frame for frame, _ in self.outbox.unacknowledged())


@settings(deadline=None)
@given(st.lists(st.sampled_from(["send", "deliver", "acknowledge", "break_and_resume"]), max_size=80))
def test_exactly_once_in_order_whatever_breaks(steps: list[str]) -> None:
    link = Link()
    for step in steps:
        getattr(link, step)()
        assert link.taken == link.sent[: len(link.taken)]
    link.break_and_resume()
    while link.stream:
        link.deliver()
    assert link.taken == link.sent
