"""What a session has put out and the kernel has not acknowledged, in memory that outlives the process: of what was written
nothing is lost when a launched server dies, however suddenly.

Neighbours: `channel` and `streams` write it, `dh_kernel.session` reads it after the server's death; both ends use this module.
Refuses to know what frames mean.

The memory belongs to no file: `kill -9`, a crash in C and a full disk leave it as it was, and the kernel holds it by a
descriptor of its own. The parts:

    a page of 64-bit words    one store of one word makes a change visible, so that no death finds it half done
    two arenas of text        what cells have written and nothing has sent yet; one is written, the other becomes frames
    a ring of frames          in the order of their numbers, from the first that is not acknowledged
    a page of bytes           where the process's own output is read to: what was read and not dealt with is there

A text is in an arena until the frame that carries it is in the ring: the store that makes the frame visible ends the arena's.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from .wire import pack, unpack

_WORDS = 4096
_ARENA = 6 << 20
_RING = 14 << 20
RAW = 1 << 16
SIZE = _WORDS + 2 * _ARENA + _RING + RAW
_ARENAS = (_WORDS, _WORDS + _ARENA)
_RING_AT = _WORDS + 2 * _ARENA
_RAW_AT = _RING_AT + _RING
# The words, by their index.
_LENGTHS = (1, 2)  # of the arenas' texts
_REPLACED = (3, 4)  # an arena is void once the ring ends here or later; 0: it is not
_CURRENT, _BEGIN, _END, _STREAM = 5, 6, 7, 8
_STREAMS = ("", "stdout", "stderr")
# Answers have nobody left to hear them, and rows of live outputs are of no use without their server.
_NOT_KEPT = frozenset({"answer", "live", "ready"})


class Journal:
    """The writer's side. What is called holds the lock of the part that it belongs to: the text buffer's, or the channel's."""

    @classmethod
    def make(cls) -> Journal | None:
        """A new one; None where the system has no such memory."""
        if not hasattr(os, "memfd_create"):
            return None
        with contextlib.suppress(OSError):
            descriptor = os.memfd_create("dh-kernel-journal")
            try:
                os.ftruncate(descriptor, SIZE)
                return cls(descriptor)
            except OSError:
                os.close(descriptor)
        return None

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, SIZE)
        self._bytes = memoryview(self._memory)
        self._words = self._bytes[:_WORDS].cast("Q")
        self._current = self._length = 0
        self._key: tuple[str, str] | None = None
        self._end = 0
        self._kept: deque[tuple[int, int]] = deque()  # a frame's number, and where it ends in the ring
        self._waiting: deque[tuple[int, bytes]] = deque()  # frames for which the ring has no room yet
        self._together = False

    @property
    def path(self) -> str:
        """Where another process of this user opens it, as long as this one lives."""
        return f"/proc/{os.getpid()}/fd/{self._descriptor}"

    # --- text

    def text(self, cell_id: str, name: str, text: str) -> None:
        """Keep a text that is about to be collected. One that is too long is only kept as a frame."""
        key = b"" if (cell_id, name) == self._key else f"{cell_id}\n{name}".encode()
        data = text.encode("utf-8", "surrogatepass")
        record = b"".join((len(key).to_bytes(4, "little"), len(data).to_bytes(4, "little"), key, data))
        length = self._length + len(record)
        if length > _ARENA:
            return
        at = _ARENAS[self._current]
        self._bytes[at + self._length : at + length] = record
        self._words[_LENGTHS[self._current]] = length
        self._length, self._key = length, (cell_id, name)

    def flip(self) -> None:
        """What has been collected is about to become frames: later texts go elsewhere."""
        self._current = 1 - self._current
        self._length, self._key = 0, None
        self._words[_LENGTHS[self._current]] = 0
        self._words[_REPLACED[self._current]] = 0
        self._words[_CURRENT] = self._current

    # --- frames

    def frame(self, seq: int, header: dict[str, Any], buffers: Sequence[bytes]) -> None:
        """Keep a frame that has been queued."""
        if header["kind"] in _NOT_KEPT:
            return
        if header["kind"] == "stream":
            header, buffers = {**header, "text": ""}, (header["text"].encode("utf-8", "surrogatepass"), *buffers)
        self._waiting.append((seq, pack({**header, "seq": seq}, buffers)))
        if not self._together:
            self._write()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """The frames that are queued meanwhile stand for the texts before the last `flip`: both change in one step."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
            self._write(replacing=True)

    def acknowledged(self, seq: int) -> None:
        """Forget the frames that the kernel has."""
        begin = None
        while self._kept and self._kept[0][0] <= seq:
            begin = self._kept.popleft()[1]
        while self._waiting and self._waiting[0][0] <= seq:
            self._waiting.popleft()
        if begin is None:
            return
        if not self._kept:  # from the start of the ring again, so that little of it is ever touched
            begin = self._end = -(-self._end // _RING) * _RING
        self._words[_BEGIN] = begin
        self._words[_END] = self._end
        self._write()

    def _write(self, *, replacing: bool = False) -> None:
        end = self._end
        while self._waiting:
            seq, payload = self._waiting[0]
            at = self._place(end, len(payload) + 4)
            if at is None:
                break
            if at > end and _RING - end % _RING >= 4:
                self._put(end, b"\0\0\0\0")
            self._put(at, len(payload).to_bytes(4, "little"))
            self._put(at + 4, payload)
            end = at + 4 + len(payload)
            self._kept.append((seq, end))
            self._waiting.popleft()
        self._end = end
        if replacing:
            self._words[_REPLACED[1 - self._current]] = max(end, 1)
        self._words[_END] = end

    def _place(self, end: int, size: int) -> int | None:
        """Where a record can stand in one piece; None while there is no room."""
        at = end if end % _RING + size <= _RING else -(-end // _RING) * _RING
        begin = self._words[_BEGIN] if self._kept else end
        return at if at + size - begin <= _RING else None

    def _put(self, at: int, data: bytes) -> None:
        start = _RING_AT + at % _RING
        self._bytes[start : start + len(data)] = data

    # --- the process's own output

    def read(self, descriptor: int, name: str) -> bytes:
        """Read what is there into the journal, and return it; `dealt_with` follows. As `os.read`."""
        self._words[_STREAM] = _STREAMS.index(name)
        length = os.readv(descriptor, [self._bytes[_RAW_AT : _RAW_AT + RAW]])
        return bytes(self._bytes[_RAW_AT : _RAW_AT + length])

    def dealt_with(self, length: int) -> None:
        """What was read has become text."""
        self._words[_STREAM] = 0
        self._bytes[_RAW_AT : _RAW_AT + length] = bytes(length)

    def close(self) -> None:
        """Give the descriptor back. The memory goes with whoever still writes, and with the reader."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class JournalReader:
    """The kernel's side; opened while the server lives."""

    def __init__(self, path: str) -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            self._memory = mmap.mmap(descriptor, SIZE, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)

    def frames(self) -> Iterator[tuple[dict[str, Any], list[bytes]]]:
        """The headers, with `seq`, and the buffers of the frames that were not acknowledged, in order."""
        at, end = self._word(_BEGIN), self._word(_END)
        while at < end:
            room = _RING - at % _RING
            size = int.from_bytes(self._ring(at, 4), "little") if room >= 4 else 0
            if not size:
                at += room
                continue
            header, buffers = unpack(self._ring(at + 4, size))
            if header["kind"] == "stream":
                header["text"] = buffers.pop(0).decode("utf-8", "surrogatepass")
            yield header, buffers
            at += 4 + size

    def texts(self) -> Iterator[tuple[str, str, str]]:
        """Cell, stream and text of what was written and is in no frame, in order."""
        current = self._word(_CURRENT)
        for arena in (1 - current, current):
            replaced = self._word(_REPLACED[arena])
            if not replaced or self._word(_END) < replaced:
                yield from self._arena(_ARENAS[arena], self._word(_LENGTHS[arena]))

    def raw(self) -> tuple[str, bytes]:
        """The stream and the bytes of the process's own output that were read, and of which nothing more is known."""
        name = _STREAMS[self._word(_STREAM)]
        return name, self._memory[_RAW_AT : _RAW_AT + RAW].rstrip(b"\0") if name else b""

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()

    def _arena(self, at: int, length: int) -> Iterator[tuple[str, str, str]]:
        end = at + length
        cell_id = name = ""
        while at < end:
            key_size, size = (int.from_bytes(self._memory[at + i : at + i + 4], "little") for i in (0, 4))
            at += 8
            if key_size:
                cell_id, _, name = self._memory[at : at + key_size].decode().partition("\n")
            at += key_size
            yield cell_id, name, self._memory[at : at + size].decode("utf-8", "surrogatepass")
            at += size

    def _word(self, index: int) -> int:
        return int.from_bytes(self._memory[index * 8 : index * 8 + 8], "little")

    def _ring(self, at: int, size: int) -> bytes:
        start = _RING_AT + at % _RING
        return self._memory[start : start + size]
