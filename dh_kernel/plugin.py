"""The `deephaven.plugin` entry point: on a server that has dh-kernel installed it registers the message channel at start-up.

Imported by Deephaven servers, so it imports nothing heavy. Source: `deephaven.plugin.Registration`, deephaven-plugin 0.8.
"""

from __future__ import annotations

from deephaven.plugin import Callback, Registration

from dh_kernel.runtime.engine import make_channel_type

registered = False


class ChannelRegistration(Registration):  # type: ignore[misc]
    """Registers the one object type that every version of the runtime uses."""

    @classmethod
    def register_into(cls, callback: Callback) -> None:
        """Called once by the server while it starts."""
        global registered
        callback.register(make_channel_type())
        registered = True
