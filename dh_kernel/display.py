"""Rich output from a cell: `from dh_kernel.display import clear_output, display, update_display`.

Importable in cells on every server: where dh-kernel is not installed, the runtime offers a module of this name. Outside of a
cell `display` prints and the others do nothing.
"""

from __future__ import annotations

from dh_kernel.runtime.front import DisplayHandle, clear_output, display, update_display

__all__ = ["DisplayHandle", "clear_output", "display", "update_display"]
