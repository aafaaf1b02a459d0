"""The archives of Java's classes by hand; kernels make theirs in the background: `dh-kernel archive make|remove|status`.

Neighbours: `training` (makes one), `server.archives` (knows the files), `kernelspecs`; `cli` prints. Refuses to know Java.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from dh_kernel.errors import SettingsError
from dh_kernel.kernelspecs import take_settings_of
from dh_kernel.launching import archive_folder, provide_environment
from dh_kernel.server import archives
from dh_kernel.settings import VARIABLES
from dh_kernel.training import Training


@dataclass(frozen=True)
class State:
    """What is kept, and where."""

    folder: str
    count: int
    size_bytes: int

    def __str__(self) -> str:
        kept = f"{self.count} archive{'s' * (self.count != 1)} of Java's classes, {self.size_bytes / 1e6:.0f} MB"
        return f"{kept}, in {self.folder}"


def status() -> State:
    """What there is now."""
    folder = archive_folder()
    sizes = [os.path.getsize(path) for path in archives.finished(folder)]
    return State(folder, len(sizes), sum(sizes))


def remove() -> State:
    """Remove all; servers that run from one go on."""
    archives.clear(archive_folder())
    return status()


def make(kernel: str | None, progress: Callable[[str], None]) -> bool:
    """Make the archive for these settings unless it is there, also if that failed lately. Takes a slow start's time.

    Args:
        kernel: take the settings and the environment of this kernelspec.
        progress: called with a line for each step.
    Returns:
        Whether there is a new one.
    Raises:
        SettingsError, ServerStartError: with the next step.
    """
    settings = take_settings_of(kernel)
    if settings.endpoint is not None:
        raise SettingsError(f"these settings attach to {settings.endpoint.address}: no server is started.")
    if not settings.class_archive:
        raise SettingsError(f"{VARIABLES['class_archive']} is 0: set it to 1 for servers that start from an archive.")
    provide_environment(settings, progress)
    archives.forget_failures(archive_folder())
    return Training(settings).run(progress)
