"""Writes docs/settings.md's table from the declarations of the settings, and from the commands' own parsers.

    python scripts/settings_table.py            writes the file
    python scripts/settings_table.py --check    exit code 1 where the file differs

tests/unit/test_settings_table.py does the latter.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dh_kernel import cli, commands
from dh_kernel.batch.options import make_parser
from dh_kernel.declarations import DECLARATIONS, Declaration

FILE = Path(__file__).parent.parent / "docs/settings.md"
BEGIN, END = "<!-- made by scripts/settings_table.py -->", "<!-- up to here -->"
# Options that are called after what they do, or that are a part of a setting.
_OTHERWISE = {"no_show_tables": "show_tables", "shared_names": "private_names", "host": "server"}


def options() -> dict[str, dict[str, list[str]]]:
    """The options of each setting, by command."""
    found: dict[str, dict[str, list[str]]] = {}
    subparsers = next(action for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction))
    parsers = {"install": subparsers.choices["install"], "run": make_parser("run", False)[0]}
    names = {declared.name for declared in DECLARATIONS}
    for command, parser in parsers.items():
        for action in parser._actions:
            name = _OTHERWISE.get(action.dest, action.dest)
            if command == "run" and name == "port":
                name = "server"
            if name in names:
                found.setdefault(name, {}).setdefault(command, []).extend(action.option_strings)
    found.setdefault("port", {})["serve"] = ["--port"]
    for option, name in commands._OPTIONS.items():
        name = {"host": "server", "port": "server", "key_env": "key_file"}.get(name, name)
        found[name].setdefault("%dh attach", []).append(option)
    found["tls"]["%dh attach"] = ["--tls"]
    for declared in DECLARATIONS:
        if declared.by_cell:
            found.setdefault(declared.name, {})["%dh set"] = [declared.name]
    return found


def row(declared: Declaration, options: dict[str, list[str]]) -> str:
    """One line of the table."""
    by_text: dict[str, list[str]] = {}
    for command, texts in options.items():
        by_text.setdefault(", ".join(f"`{text}`" for text in texts), []).append(command)
    shown = "; ".join(f"{text} ({', '.join(commands)})" for text, commands in by_text.items())
    cells = (f"`{declared.name}`", f"`{declared.variable}`", shown, default(declared), bounds(declared), declared.help)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def default(declared: Declaration) -> str:
    """The default as the user would write it, or in words."""
    if declared.shown:
        return declared.shown
    if isinstance(declared.raw, bool):
        return "`1`" if declared.raw else "`0`"
    if declared.raw in ("", ()):
        return "none"
    return f"`{declared.raw:g}`" if isinstance(declared.raw, float) else f"`{declared.raw}`"


def bounds(declared: Declaration) -> str:
    """What a number may be."""
    return "" if declared.bounds is None else f"{declared.bounds[0]:,g} to {declared.bounds[1]:,g}"


def table() -> str:
    """The whole table."""
    found = options()
    head = ["| setting | variable | options | default | bounds | meaning |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(row(declared, found.get(declared.name, {})) for declared in DECLARATIONS)])


def text(before: str) -> str:
    """The file's text, with the table as it has to be."""
    head, _, rest = before.partition(BEGIN)
    return f"{head}{BEGIN}\n\n{table()}\n\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Write, or compare."""
    before = FILE.read_text("utf-8")
    after = text(before)
    if sys.argv[1:] == ["--check"]:
        print("" if before == after else f"{FILE} is not what scripts/settings_table.py makes: run it.", end="")
        return int(before != after)
    FILE.write_text(after, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
