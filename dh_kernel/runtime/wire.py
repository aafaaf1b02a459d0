"""The frames of the stream between kernel and server, and the bookkeeping that lets a broken stream be resumed.

Pure: bytes and counters, no socket, no thread, no clock. Both ends use this very module; the server's end is shipped with the
runtime. A frame is

    4 bytes   b"DHK1", the protocol and its version
    4 bytes   length of the header, big-endian
    header    JSON, ASCII only: {"session", "seq", "ack", "kind", "buffers": [length, ...], ...}
    buffers   raw bytes, one after the other

`seq` numbers a direction's frames from 1; 0 marks a frame that carries only an acknowledgement. `ack` is the highest number
that the sender of the frame has taken in from the other direction. Tables travel beside a frame, as references of the stream,
and are good for one connection only: `held` lists frames up to `ack` whose tables the sender still has to read, so that it
gets new references should the stream break.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from typing import Any

MAGIC = b"DHK1"
MAX_FRAME_BYTES = 1 << 20
"""Text and buffers above this are split, or sent alone: gRPC's default receive limit is 4 MiB."""


class WireError(ValueError):
    """A frame is not of this protocol, or was cut."""


def pack(header: dict[str, Any], buffers: Sequence[bytes | memoryview] = ()) -> bytes:
    """Make one frame. The header must be JSON data; its `buffers` entry is written here."""
    raw = json.dumps({**header, "buffers": [len(buffer) for buffer in buffers]}, separators=(",", ":")).encode("ascii")
    return b"".join((MAGIC, len(raw).to_bytes(4, "big"), raw, *buffers))


def unpack(payload: bytes | memoryview) -> tuple[dict[str, Any], list[bytes]]:
    """Read one frame.

    Raises:
        WireError: other magic (another version speaks), or lengths that do not add up.
    """
    data = bytes(payload)
    if data[:4] != MAGIC:
        raise WireError(f"the frame starts with {data[:4]!r}, this end speaks {MAGIC!r}: kernel and server runtime differ")
    end = 8 + int.from_bytes(data[4:8], "big")
    try:
        header = json.loads(data[8:end])
    except ValueError as error:
        raise WireError(f"the header of a frame of {len(data)} bytes is not JSON") from error
    buffers = []
    try:
        for length in header.pop("buffers"):
            buffers.append(data[end : end + length])
            end += length
    except (KeyError, TypeError, AttributeError) as error:
        raise WireError("the header of a frame does not tell the lengths of its buffers") from error
    if end != len(data):
        raise WireError(f"a frame of {len(data)} bytes should have {end}")
    return header, buffers


class Outbox:
    """Numbers the frames of one direction and keeps each until the other end has acknowledged it. Not thread-safe."""

    def __init__(self) -> None:
        self.last_seq = self.last_ack = 0
        self.unacked_bytes = 0
        self._unacked: deque[tuple[int, bytes, Sequence[Any]]] = deque()

    def frame(
        self, header: dict[str, Any], buffers: Sequence[bytes | memoryview], references: Sequence[Any], ack: int
    ) -> tuple[bytes, Sequence[Any]]:
        """Number and keep a frame; returns what goes onto the stream."""
        self.last_seq += 1
        payload = pack({**header, "seq": self.last_seq, "ack": ack}, buffers)
        self._unacked.append((self.last_seq, payload, references))
        self.unacked_bytes += len(payload)
        return payload, references

    def acknowledge(self, seq: int, held: Collection[int] = ()) -> None:
        """Forget what the other end has taken in, but for the frames that it still holds."""
        self.last_ack = max(self.last_ack, seq)
        kept = []
        while self._unacked and self._unacked[0][0] <= seq:
            frame = self._unacked.popleft()
            if frame[0] in held:
                kept.append(frame)
            else:
                self.unacked_bytes -= len(frame[1])
        self._unacked.extendleft(reversed(kept))

    def unacknowledged(self) -> Iterator[tuple[bytes, Sequence[Any]]]:
        """What a resumed stream must carry again, in order; the other end drops what it has seen."""
        for _, payload, references in self._unacked:
            yield payload, references


class Inbox:
    """Takes each frame of one direction once, in order. Not thread-safe."""

    ACK_EVERY_BYTES = 128 << 10
    ACK_EVERY_FRAMES = 32

    def __init__(self) -> None:
        self.last_seq = 0
        self._bytes = 0
        self._frames = 0

    def accept(self, seq: int) -> bool:
        """Whether the frame is new; a repeated one is to be dropped.

        Raises:
            WireError: a frame is missing, which a stream in order cannot lose.
        """
        if seq <= self.last_seq:
            return False
        if seq != self.last_seq + 1:
            raise WireError(f"frame {seq} follows {self.last_seq}: frames were lost")
        self.last_seq = seq
        return True

    def consumed(self, size: int) -> bool:
        """Count a frame as dealt with; True when it is time to send an acknowledgement."""
        self._bytes += size
        self._frames += 1
        if self._bytes < self.ACK_EVERY_BYTES and self._frames < self.ACK_EVERY_FRAMES:
            return False
        self._bytes = self._frames = 0
        return True
