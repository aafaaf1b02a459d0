"""docs/batch.md against the package and the tests: exit codes, and a test by name behind each claim."""

from __future__ import annotations

import re
from pathlib import Path

from dh_kernel.batch.outcome import EXIT_CODES

ROOT = Path(__file__).parent.parent.parent
TEXT = (ROOT / "docs/batch.md").read_text("utf-8")


def test_each_of_our_cells_names_a_test_that_exists() -> None:
    names = {
        name for file in ROOT.glob("tests/**/test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))
    }
    rows = [line.split("|") for line in TEXT.partition("## Compared")[2].splitlines() if line.startswith("| ")]
    ours = [row[2] for row in rows[1:]]
    assert len(ours) > 30
    for cell in ours:
        named = re.findall(r"`(test_\w+)`", cell)
        assert named, cell
        assert set(named) <= names, cell


def test_the_table_of_exit_codes_is_the_packages() -> None:
    section = TEXT.partition("## Exit codes")[2].partition("##")[0]
    told = {int(code) for row in re.findall(r"^\| ([\d, ]+) \|", section, re.MULTILINE) for code in row.split(",")}
    assert told == set(EXIT_CODES)
