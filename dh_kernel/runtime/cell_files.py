"""The names of files under which cells are compiled where they can be debugged: front ends compute the same from the source.

Neighbours: `ipython_shell` (compiles under these names), `debugger` (writes the files when asked). Refuses to know debugpy.
Source: ipykernel's reply to `debugInfo`; its front ends know one hash, Murmur2, over the cell's source in UTF-8.
"""

from __future__ import annotations

import os
import struct

SEED = 0xC70F6907
HASH_METHOD = "Murmur2"
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


class CellFiles:
    """Names files of a folder, which is made when a file is written; it goes with the server's own folder."""

    suffix = ".py"

    def __init__(self, folder: str) -> None:
        self.prefix = os.path.join(os.path.realpath(folder), "cells", "")

    def name(self, code: str) -> str:
        """The file name of a cell with this source."""
        return f"{self.prefix}{murmur2(code.encode('utf-8', 'surrogatepass'), SEED)}{self.suffix}"

    def write(self, code: str) -> str:
        """Write a cell's source into its file; the file's name."""
        name = self.name(code)
        os.makedirs(self.prefix, mode=0o700, exist_ok=True)
        with open(name, "w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            file.write(code)
        return name


def murmur2(data: bytes, seed: int) -> int:
    """MurmurHash2 of 32 bits, as Austin Appleby published it."""
    value = (seed ^ len(data)) & _MASK
    whole = len(data) & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        word = word * _M & _MASK
        word = (word ^ word >> 24) * _M & _MASK
        value = (value * _M & _MASK) ^ word
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * _M & _MASK
    value = (value ^ value >> 13) * _M & _MASK
    return value ^ value >> 15
