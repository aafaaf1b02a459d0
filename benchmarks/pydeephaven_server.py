"""A Deephaven server in a process of its own, for the peer `pydeephaven`. It ends when its standard input does.

The first line of standard input is JSON: `{"key": …, "heap": …}`. The only line of standard output is JSON: the port,
Java's version and the heap in MB. Run by `peers.py`.
"""

from __future__ import annotations

import json
import os
import sys

from deephaven_server import Server


def main() -> None:
    """Start, say where, and wait for the end of standard input."""
    settings = json.loads(sys.stdin.readline())
    jvm_args = [f"-Xmx{settings['heap']}", f"-Dauthentication.psk={settings['key']}"]
    server = Server(host="127.0.0.1", port=0, jvm_args=jvm_args)
    server.start()
    import jpy  # only importable once the JVM is there

    java = jpy.get_type("java.lang.System").getProperty("java.version")
    heap_mb = jpy.get_type("java.lang.Runtime").getRuntime().maxMemory() // 2**20
    print(json.dumps({"port": server.port, "java": java, "heap_mb": heap_mb}), flush=True)
    sys.stdin.read()
    os._exit(0)  # Java's threads would keep the process


if __name__ == "__main__":
    main()
