"""Processes of Deephaven servers: find a Java, launch, watch, describe the end, stop.

Neighbours: `app.py` starts a server before anything else, the kernel waits for it and reads its log. Knows nothing of cells,
sessions, tables or Jupyter, and imports only the standard library and the package's leaves, so that the import costs little.

    process.py   ServerProcess: the parent's side, from spawn to the last file removed
    launcher.py  the child's side; a self-contained script that runs in the server's interpreter
    guardian.py  ends a server whose kernel was killed
    output.py    reads the server's file descriptors 1 and 2, and keeps the tail of its log
    workdir.py   a server's own folder, and the sweep of folders that nobody owns any more
    java.py      finds a JDK
    options.py   how to launch
    archives.py  Java's archives of classes, which shorten a start
    standby.py   servers started ahead: what suits whom, and how one is claimed
    keeper.py    the process that keeps them
    adoption.py  how such a server comes to stand where its kernel does; runs in the server's interpreter
    death.py     why a server ended, in words
"""

from __future__ import annotations

from .death import describe, without_report
from .java import Java, find_java
from .options import LaunchOptions, default_heap
from .process import ServerProcess

__all__ = ["Java", "LaunchOptions", "ServerProcess", "default_heap", "describe", "find_java", "without_report"]
