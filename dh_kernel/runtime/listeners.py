"""Listeners of tables print to the cell that registered them, whichever thread calls them and wherever they were defined.

Neighbours: `streams` (whose text is whose). Refuses to know what a listener does.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from .streams import Switchboard


def follow_listeners(switchboard: Switchboard) -> None:
    """Note which cell registers a listener: deephaven has no hook for that, so that its two handles are wrapped, once."""
    from deephaven import table_listener

    for handle in (table_listener.TableListenerHandle, table_listener.MergedListenerHandle):
        if not hasattr(handle.__init__, "dh_kernel_original"):
            _follow(handle, switchboard)


def _follow(handle: Any, switchboard: Switchboard) -> None:
    original = handle.__init__

    @functools.wraps(original)
    def init(self: Any, *arguments: Any, **keywords: Any) -> None:
        given = inspect.signature(original).bind(self, *arguments, **keywords)
        listener = given.arguments["listener"]
        if callable(listener):  # objects with methods are known by the file of their class
            given.arguments["listener"] = switchboard.owned(listener)
        original(*given.args, **given.kwargs)

    init.dh_kernel_original = original  # type: ignore[attr-defined]
    handle.__init__ = init
