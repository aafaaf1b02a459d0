"""What kernel.json starts. The server is spawned before the rest is imported, so that both come up at the same time."""

from __future__ import annotations

import atexit
import os
import sys


def main() -> None:
    """Run one kernel until it is shut down."""
    from dh_kernel.settings import load_settings, withhold
    from dh_kernel.timings import Timings

    timings = Timings.of_process()
    settings, problem = load_settings(sys.argv[1:], os.environ)
    withhold(settings)
    first = None
    if problem is None and settings.endpoint is None:
        from dh_kernel.launching import launch

        first = launch(settings)
    timings.mark("spawned")
    # ipykernel loads a debugger that warns, on the terminal, of what only matters where user code runs.
    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    from dh_kernel.app import main as serve

    timings.mark("imported")
    serve(settings, problem, first, timings)
    # The interpreter's own end would wait for threads that still try to connect, and hang on an open stream of gRPC.
    atexit._run_exitfuncs()
    os._exit(0)


if __name__ == "__main__":
    main()
