"""The guardian of a launched server: a shell of a few lines, in a session of its own, that outlives a killed kernel just long
enough to end the server and remove its folder. POSIX only.

It waits for the end of a pipe whose other end only the kernel process holds. Knows of the server its process group and its
folder, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import Literal

# $1 is the folder, which it makes, so that no kill -9 can come between the making and the guarding; on a busy machine the
# server may have been faster. It reads the process group to guard, or `leave`, then waits for the end of its input. A logout
# sends SIGTERM to all, and then there is work to do. Nobody else removes the folder on POSIX: the late mkdir would come after.
_SCRIPT = """
trap '' HUP INT TERM
umask 077
mkdir -p -- "$1"
while read -r line; do group=$line; done
[ "$group" = leave ] && exit 0
[ -n "$group" ] && kill -s KILL -- "-$group"
for again in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf -- "$1"
    [ -e "$1" ] || exit 0
    sleep 0.1
done
"""


class Guardian:
    """Guards a folder from the start, and a process group once told. Does its work when this process ends, however it ends."""

    def __init__(self, folder: str) -> None:
        read_end, self._write_end = os.pipe()
        path = os.pathsep.join(filter(None, (os.environ.get("PATH"), os.defpath)))
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _SCRIPT, "dh-kernel-guardian", folder],
                stdin=read_end,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={"PATH": path},
                start_new_session=True,
            )
        except BaseException:
            os.close(self._write_end)
            raise
        finally:
            os.close(read_end)

    def guard(self, group: int | Literal["", "leave"]) -> None:
        """Kill this process group too, when the time comes; the last one told counts."""
        with contextlib.suppress(BrokenPipeError):  # somebody killed it; the launcher's own thread is left
            os.write(self._write_end, f"{group}\n".encode())

    def retire(self, timeout_s: float) -> None:
        """Kill nothing any more, only remove the folder. To be called while the group's leader is not reaped yet."""
        self.guard("")
        self.let_go(timeout_s)

    def leave(self, timeout_s: float) -> None:
        """Go, and touch nothing: another process has a guardian for the same server."""
        self.guard("leave")
        self.let_go(timeout_s)

    def let_go(self, timeout_s: float) -> None:
        """What the end of this process does, too: the guardian does its work. Waits for it."""
        os.close(self._write_end)
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
