"""Fail unless every folder of tests ran, and no test was skipped: reads the JUnit XML that pytest wrote.

A skip is for a developer's machine that lacks something. Where this runs nothing may be missing; only a test of something that
this version of Python does not have may be skipped.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter

FOLDERS = ("unit", "server", "protocol", "batch", "browser")
ALLOWED = re.compile(r"of Python 3\.\d+$")


def problems(junit: str) -> list[str]:
    """What is wrong with a run, a line each."""
    passed: Counter[str] = Counter()
    found = []
    for case in ElementTree.parse(junit).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        skipped = case.find("skipped")
        if skipped is not None:
            reason = skipped.get("message", "")
            if not ALLOWED.search(reason):
                found.append(f"skipped: {name}: {reason}")
            continue
        if case.find("failure") is not None or case.find("error") is not None:
            found.append(f"failed: {name}")
            continue
        parts = name.split(".")
        passed[parts[1] if parts[0] == "tests" and len(parts) > 1 else parts[0]] += 1
    found += [f"tests/{folder}: no test ran" for folder in FOLDERS if not passed[folder]]
    if not found:
        print("all ran: " + ", ".join(f"{passed[folder]} in tests/{folder}" for folder in FOLDERS))
    return found


if __name__ == "__main__":
    wrong = problems(sys.argv[1])
    print(*wrong, sep="\n", end="\n" if wrong else "", file=sys.stderr)
    sys.exit(1 if wrong else 0)
