"""A TCP relay on loopback that does to connections what networks do: cuts, silence, delays, half-closes, refusals.

Neighbours: tests that put it between a kernel, or a session, and a server. Knows nothing of what it relays.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
import time
from dataclasses import dataclass, replace

from dh_kernel.model import Endpoint


@dataclass
class _Pair:
    """One connection: the client's end and the server's."""

    client: socket.socket
    server: socket.socket
    lost: bool = False


class Proxy:
    """Relays to `target`, which can be changed. All faults are for connections that there are, but for `refuse`."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.target = (endpoint.host, endpoint.port)
        self.delay_s = 0.0
        """How long each piece of data is held up, at most: by a random part of it, each direction on its own."""
        self._refuses = False
        self._passing = threading.Event()
        self._passing.set()
        self._lock = threading.Lock()
        self._pairs: list[_Pair] = []
        self._lost: list[_Pair] = []
        self._random = random.Random(7)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = replace(endpoint, host="127.0.0.1", port=self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name="test-proxy", daemon=True).start()

    def cut(self) -> int:
        """Break all connections at once, with a reset; returns how many there were."""
        cut = self._take_all()
        for pair in cut:
            for end in (pair.client, pair.server):
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)
        return len(cut)

    def half_close(self, *, towards_server: bool) -> int:
        """End one direction of each connection in good order, and leave the other open; returns how many there were."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            with contextlib.suppress(OSError):
                (pair.server if towards_server else pair.client).shutdown(socket.SHUT_WR)
        return len(pairs)

    def silence(self) -> None:
        """Pass nothing on, and tell nobody: also for new connections, until `pass_on`. What comes meanwhile is held."""
        self._passing.clear()

    def pass_on(self) -> None:
        """Pass on what is held, and what comes."""
        self._passing.set()

    def lose(self) -> None:
        """Forget the connections without a word to either end, as a router does that is switched off."""
        lost = self._take_all()
        for pair in lost:
            pair.lost = True
        self._lost += lost  # kept open, so that no end is told

    def refuse(self) -> None:
        """Cut all connections, and take no more until `accept_again`."""
        self._refuses = True
        self.cut()

    def accept_again(self) -> None:
        """Take connections again."""
        self._refuses = False

    def close(self) -> None:
        """Take no more connections, and cut those that there are."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._passing.set()
        self.cut()
        for pair in self._lost:
            pair.client.close()
            pair.server.close()

    def _take_all(self) -> list[_Pair]:
        with self._lock:
            pairs, self._pairs = self._pairs, []
        return pairs

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._refuses:
                    raise ConnectionRefusedError
                server = socket.create_connection(self.target)
            except OSError:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
                continue
            pair = _Pair(client, server)
            with self._lock:
                self._pairs.append(pair)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._relay, args=(pair, source, sink), name="test-proxy-relay", daemon=True).start()

    def _relay(self, pair: _Pair, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._passing.wait()
                if self.delay_s:
                    time.sleep(self._random.random() * self.delay_s)
                if pair.lost:
                    return
                sink.sendall(data)
        if pair.lost:
            return
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
        for end in (sink, source):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
