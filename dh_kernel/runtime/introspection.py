"""Completion and inspection: what the session and the interpreter call. The rest is imported when it is first needed.

Neighbours: `completion`, `inspection` (do the work). Nothing here, or behind it, runs the user's code: no properties, no
`__getattr__`, `__dir__` or `__repr__`. It can be asked from any thread, also while a cell runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any


def complete(
    namespace: dict[str, Any], code: str, cursor: int, *, shell: Any = None, magics: Iterable[str] | None = None
) -> dict[str, Any]:
    """Jupyter's `complete_reply` content; positions in code points.

    Args:
        shell: the session's IPython shell, for its magics; by default the process's, if it works on this namespace.
        magics: those that there are without a shell, with their `%`; by default the plain wrapper's.
    Source: Jupyter messaging, "Completion".
    """
    from .completion import complete as answer

    shell = shell or _shell_of(namespace)
    names = _plain_magics() if magics is None and shell is None else magics or ()
    return answer(namespace, code, cursor, shell, names)


def inspect_at(
    namespace: dict[str, Any],
    code: str,
    cursor: int,
    detail: int,
    *,
    omit_sections: Iterable[str] = (),
    shell: Any = None,
) -> dict[str, Any]:
    """Jupyter's `inspect_reply` content for the name at, or the call around, the cursor; for columns in text too.

    Args:
        detail: 1 for the source as well.
        omit_sections: what to leave out, by IPython's names: `docstring`, `file` …
    """
    from .inspection import inspect_at as answer

    return answer(namespace, code, cursor, detail, omit_sections, shell or _shell_of(namespace))


def inspect_name(namespace: dict[str, Any], dotted: str, *, detailed: bool) -> str | None:
    """What is known of a dotted name: signature, text, documentation, and source when asked; None if there is no such name."""
    from .inspection import inspect_name as answer

    return answer(namespace, dotted, detailed=detailed)


def warm_up() -> None:
    """Import what questions need, jedi included, on a thread of the caller's: the first one is then as quick as others."""
    from . import completion, inspection, jedi_names  # noqa: F401

    jedi_names.warm_up()


def _plain_magics() -> list[str]:
    from . import plain_magics as plain

    return [f"%{name}" for name in (*plain.LINE, *plain.HARMLESS, *plain.NO_EFFECT)] + [f"%%{name}" for name in plain.CELL]


def _shell_of(namespace: dict[str, Any]) -> Any:
    loaded = sys.modules.get("IPython.core.interactiveshell")
    shell = getattr(getattr(loaded, "InteractiveShell", None), "_instance", None)
    return shell if shell is not None and getattr(shell, "user_ns", None) is namespace else None
