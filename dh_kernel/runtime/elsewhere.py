"""Magics of notebooks whose work is done elsewhere, each with one line that says where.

Neighbours: `ipython_magics` and `plain_magics`, which print these lines.
"""

from __future__ import annotations

ELSEWHERE = {
    "connect_info": "Another client of this kernel is started where the kernel runs: jupyter console --existing. "
    "%dh tells which Deephaven server it uses.",
    "qtconsole": "A Qt console is started where the kernel runs, not on the server: jupyter qtconsole --existing",
    "edit": "There is no editor beside a server: edit in the notebook; %load FILE brings a file into a cell, %%writefile "
    "FILE writes one.",
    "ed": "There is no editor beside a server: edit in the notebook.",
    "notebook": "The front end saves notebooks: use its File menu.",
    "autosave": "The front end saves notebooks: autosave is one of its settings.",
    "gui": "No event loop of a desktop can run in a server; figures are shown inline.",
    "subshell": "Front ends make subshells: each runs its cells beside the others.",
}
