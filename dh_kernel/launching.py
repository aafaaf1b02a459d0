"""From settings to a launched server: the glue that knows both. Imports nothing heavy, since it runs before all else.

Neighbours: `__main__` (the first server), `backend` (the next ones), `standby` and `archive` (by hand).
"""

from __future__ import annotations

import os
from collections.abc import Callable

import platformdirs

from dh_kernel import versions
from dh_kernel.errors import DhKernelError
from dh_kernel.server import LaunchOptions, ServerProcess, default_heap, find_java, standby
from dh_kernel.settings import Settings


def launch_options(settings: Settings) -> LaunchOptions:
    """How to launch the server that the settings ask for."""
    return LaunchOptions(
        python=_python_for(settings),
        java_home=settings.java_home,
        heap=f"{settings.heap_mb}m" if settings.heap_mb else default_heap(),
        jvm_args=settings.jvm_args,
        port=settings.port,
        start_timeout_s=settings.start_timeout_s,
        archives=archive_folder() if settings.class_archive else None,
        standby=settings.standby,
        standby_idle_s=settings.standby_idle_s,
    )


def _python_for(settings: Settings) -> str:
    environment = versions.wanted(settings)
    return settings.python if environment is None else environment.python


def archive_folder() -> str:
    """Where Java's archives of classes are kept, for all kernels of the user."""
    return os.path.join(platformdirs.user_cache_dir("dh-kernel", appauthor=False), "archives")


def needs_environment(settings: Settings) -> versions.Environment | None:
    """The environment that has to be made before a server can be launched."""
    environment = versions.wanted(settings)
    return None if environment is None or environment.exists else environment


def provide_environment(settings: Settings, progress: Callable[[str], None]) -> None:
    """Make the environment that a launch needs, unless it is there. Blocks, for minutes.

    Args:
        progress: called with a line for each step.
    Raises:
        ServerStartError: it cannot be made; with the next step.
    """
    missing = needs_environment(settings)
    if missing is not None:
        progress(f"installing Deephaven {missing.version}, which is done once")
        versions.provide(missing, progress)


def launch(settings: Settings) -> ServerProcess | DhKernelError | None:
    """Spawn a server if one is to be launched; an error is a value, to be told by the first cell.

    None also where its environment is to be made first, which takes minutes.
    """
    if settings.endpoint is not None or needs_environment(settings) is not None:
        return None
    try:
        return ServerProcess.start(launch_options(settings))
    except DhKernelError as error:
        return error


def keep_standby(settings: Settings) -> bool:
    """Have spare servers kept for the next launches with these settings; whether they are. Blocks for a second."""
    if settings.endpoint is not None:
        return False
    try:
        options = launch_options(settings)
        return standby.keep(options, find_java(options.java_home))
    except (DhKernelError, OSError):
        return False
