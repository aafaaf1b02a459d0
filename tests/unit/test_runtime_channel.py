"""The server's end of the stream over a connection made up here: order, the window, and a stream that breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dh_kernel.runtime.channel import PENDING_BYTES, WINDOW_BYTES, Channel
from dh_kernel.runtime.wire import Inbox, Outbox, pack, unpack

TIMEOUT_S = 20.0


class Kernel:
    """The other end: takes frames in, acknowledges when told to, and can break."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.inbox, self.outbox = Inbox(), Outbox()
        self.frames: list[dict[str, Any]] = []
        self.repeated = 0
        self.references: list[list[Any]] = []
        self.news = threading.Condition()
        self.stream: Stream | None = None

    def connect(self) -> Stream:
        stream = Stream(self)
        stream.receiver = self.channel.connect(stream)
        self.stream = stream
        return stream

    def resume(self) -> Stream:
        """A new stream, and the frame that says from where to go on."""
        stream = self.connect()
        self.outbox.acknowledge(stream.hello["ack"])
        stream.receiver.on_data(pack({"kind": "resume", "seq": 0, "ack": self.inbox.last_seq}), [])
        for frame, _ in self.outbox.unacknowledged():
            stream.receiver.on_data(frame, [])
        return stream

    def send(self, **header: Any) -> bytes:
        assert self.stream is not None
        frame, _ = self.outbox.frame(header, (), (), self.inbox.last_seq)
        self.stream.receiver.on_data(frame, [])
        return frame

    def acknowledge(self) -> None:
        assert self.stream is not None
        self.stream.receiver.on_data(pack({"kind": "ack", "seq": 0, "ack": self.inbox.last_seq}), [])

    def take(self, payload: bytes, references: list[Any]) -> None:
        header, _ = unpack(payload)
        with self.news:
            if header["seq"] == 0:
                self.outbox.acknowledge(header["ack"])
            elif self.inbox.accept(header["seq"]):
                self.frames.append(header)
                self.references.append(references)
            else:
                self.repeated += 1
            self.news.notify_all()

    def wait(self, condition: Callable[[], bool]) -> None:
        with self.news:
            assert self.news.wait_for(condition, TIMEOUT_S), self.frames[-3:]

    def numbers(self) -> list[int]:
        return [frame["n"] for frame in self.frames]


class Stream:
    """One connection; `fails` makes its next sends raise, as a broken stream does."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self.hello: dict[str, Any] = {}
        self.receiver: Any = None
        self.fails = False
        self.failed = threading.Event()
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def on_data(self, payload: bytes, references: list[Any]) -> None:
        if not self.hello:
            self.hello = unpack(payload)[0]
            return
        self.entered.set()
        assert self.gate.wait(TIMEOUT_S)
        if self.fails:
            self.failed.set()
            raise OSError("the stream is broken")
        self._kernel.take(payload, references)


class Heard:
    """What the session above the channel is told."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.connected = self.disconnected = 0


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def channel(heard: Heard) -> Iterator[Channel]:
    made = Channel("s1", lambda header, buffers: heard.messages.append(header))

    def connected() -> None:
        heard.connected += 1

    def disconnected() -> None:
        heard.disconnected += 1

    made.on_connected, made.on_disconnected = connected, disconnected
    yield made
    made.close()
    receiver = made.connect(_Sink())
    receiver.on_data(pack({"kind": "resume", "seq": 0, "ack": 1 << 60}), [])
    made._writer.join(TIMEOUT_S)
    assert not made._writer.is_alive()


class _Sink:
    def on_data(self, payload: bytes, references: list[Any]) -> None:
        """Take whatever is left."""


@pytest.fixture
def kernel(channel: Channel) -> Kernel:
    return Kernel(channel)


def test_hello_names_the_session_and_nothing_goes_before_resume(channel: Channel, kernel: Kernel) -> None:
    channel.queue({"kind": "x", "n": 1})
    stream = kernel.connect()
    assert len(stream.hello.pop("server")) == 32
    assert stream.hello == {"kind": "hello", "session": "s1", "fresh": True, "seq": 0, "ack": 0, "acked": 0}
    assert kernel.frames == []
    stream.receiver.on_data(pack({"kind": "resume", "seq": 0, "ack": 0}), [])
    kernel.wait(lambda: kernel.numbers() == [1])
    assert kernel.connect().hello["fresh"] is False


def test_frames_go_in_order_with_references(channel: Channel, kernel: Kernel) -> None:
    kernel.resume()
    table = object()
    for n in range(200):
        channel.queue({"kind": "x", "n": n}, (), [table] if n == 7 else ())
    kernel.wait(lambda: len(kernel.frames) == 200)
    assert kernel.numbers() == list(range(200))
    assert kernel.references[7] == [table]
    assert {frame["session"] for frame in kernel.frames} == {"s1"}


def test_the_writer_pauses_at_the_window(channel: Channel, kernel: Kernel) -> None:
    """Nothing beyond the window leaves before an acknowledgement, and then all does."""
    stream = kernel.resume()
    lump, count = b"x" * (1 << 20), 10
    for n in range(count):
        channel.queue({"kind": "x", "n": n}, [lump])
    allowed = WINDOW_BYTES // len(lump)
    kernel.wait(lambda: len(kernel.frames) >= allowed)
    # An acknowledgement without news makes the writer look again: it must find nothing to send.
    stream.receiver.on_data(pack({"kind": "ack", "seq": 0, "ack": 0}), [])
    assert not channel.drained(0.2)
    assert len(kernel.frames) == allowed
    while len(kernel.frames) < count:
        seen = len(kernel.frames)
        kernel.acknowledge()
        kernel.wait(lambda: len(kernel.frames) > seen)  # noqa: B023
    assert kernel.numbers() == list(range(count))
    kernel.acknowledge()
    assert channel.drained(TIMEOUT_S)


def test_a_producer_waits_for_room_and_goes_on(channel: Channel, kernel: Kernel) -> None:
    channel.queue({"kind": "x", "n": 0}, size=PENDING_BYTES + 1)
    passed = threading.Event()

    def produce() -> None:
        channel.wait_for_room()
        passed.set()

    producer = threading.Thread(target=produce)
    producer.start()
    assert not passed.wait(0.3), "there is no room"
    kernel.resume()
    assert passed.wait(TIMEOUT_S)
    producer.join()


def test_a_closed_channel_holds_nobody_up(channel: Channel) -> None:
    channel.queue({"kind": "x", "n": 0}, size=PENDING_BYTES + 1)
    producer = threading.Thread(target=channel.wait_for_room)
    producer.start()
    channel.close()
    producer.join(TIMEOUT_S)
    assert not producer.is_alive()


def test_a_broken_stream_loses_and_doubles_nothing(channel: Channel, kernel: Kernel) -> None:
    """Frames that a stream swallowed or refused come again on the next one; what had arrived is not taken twice."""
    first = kernel.resume()
    for n in range(5):
        channel.queue({"kind": "x", "n": n})
    kernel.wait(lambda: len(kernel.frames) == 5)
    first.fails = True
    for n in range(5, 10):
        channel.queue({"kind": "x", "n": n})
    assert first.failed.wait(TIMEOUT_S)
    kernel.resume()
    for n in range(10, 15):
        channel.queue({"kind": "x", "n": n})
    kernel.wait(lambda: len(kernel.frames) == 15)
    assert kernel.numbers() == list(range(15))


def test_what_the_kernel_already_has_is_not_taken_twice(channel: Channel, kernel: Kernel) -> None:
    """The kernel resumes with an older acknowledgement than it could: repeated frames are dropped, none is missing."""
    kernel.resume()
    for n in range(5):
        channel.queue({"kind": "x", "n": n})
    kernel.wait(lambda: len(kernel.frames) == 5)
    stream = kernel.connect()
    stream.receiver.on_data(pack({"kind": "resume", "seq": 0, "ack": 2}), [])
    channel.queue({"kind": "x", "n": 5})
    kernel.wait(lambda: len(kernel.frames) == 6)
    assert kernel.numbers() == list(range(6))
    assert kernel.repeated == 3


def test_a_stream_that_breaks_while_a_frame_is_under_way(channel: Channel, kernel: Kernel) -> None:
    """The frame is on the old stream when the kernel resumes on a new one: it comes once, by either."""
    old = kernel.resume()
    old.gate.clear()
    old.entered.clear()
    channel.queue({"kind": "x", "n": 0})
    assert old.entered.wait(TIMEOUT_S)
    new = kernel.resume()
    old.fails = True
    old.gate.set()
    assert old.failed.wait(TIMEOUT_S)
    channel.queue({"kind": "x", "n": 1})
    kernel.wait(lambda: len(kernel.frames) == 2)
    assert kernel.numbers() == [0, 1]
    assert new is kernel.stream


def test_a_broken_stream_is_told_once(channel: Channel, kernel: Kernel, heard: Heard) -> None:
    """The failed send and the server's `on_close` both notice the same break; a session must not linger twice for it."""
    stream = kernel.resume()
    stream.fails = True
    channel.queue({"kind": "x", "n": 0})
    assert stream.failed.wait(TIMEOUT_S)
    with kernel.news:
        kernel.news.wait_for(lambda: heard.disconnected > 0, TIMEOUT_S / 10)
    stream.receiver.on_close()
    assert heard.disconnected == 1


def test_the_end_of_a_former_stream_is_no_news(channel: Channel, kernel: Kernel, heard: Heard) -> None:
    old = kernel.resume()
    kernel.resume()
    old.receiver.on_close()
    old.receiver.on_data(pack({"kind": "execute", "seq": 1, "ack": 0}), [])
    assert heard.disconnected == 0
    assert heard.messages == []
    channel.queue({"kind": "x", "n": 1})
    kernel.wait(lambda: kernel.numbers() == [1])


def test_messages_arrive_once_and_in_order(kernel: Kernel, heard: Heard) -> None:
    kernel.resume()
    frames = [kernel.send(kind="execute", n=n) for n in range(3)]
    stream = kernel.connect()
    assert stream.hello["ack"] == 3
    stream.receiver.on_data(pack({"kind": "resume", "seq": 0, "ack": 0}), [])
    for frame in frames:
        stream.receiver.on_data(frame, [])
    kernel.send(kind="execute", n=3)
    assert [message["n"] for message in heard.messages] == [0, 1, 2, 3]
    assert heard.connected == 2


def test_what_the_kernel_sends_is_acknowledged(kernel: Kernel) -> None:
    kernel.resume()
    for n in range(Inbox.ACK_EVERY_FRAMES):
        kernel.send(kind="ping", n=n)
    kernel.wait(lambda: not kernel.outbox.unacked_bytes)


def test_noise_is_ignored(channel: Channel, kernel: Kernel, heard: Heard) -> None:
    stream = kernel.resume()
    stream.receiver.on_data(b"noise", [])
    kernel.send(kind="execute", n=1)
    assert [message["n"] for message in heard.messages] == [1]


def test_the_writer_takes_from_the_source_of_output(channel: Channel, kernel: Kernel) -> None:
    """`poke` makes the writer look; a source that asks for a later look gets one."""
    due = iter([0.01, None])
    waiting: list[int] = []

    def source() -> float | None:
        if not waiting:
            return None
        answer = next(due, None)
        if answer is None:
            channel.queue({"kind": "x", "n": waiting.pop()})
        return answer

    channel.flush_source = source
    kernel.resume()
    waiting.append(42)
    channel.poke()
    kernel.wait(lambda: kernel.numbers() == [42])
