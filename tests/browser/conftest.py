"""JupyterLab with this run's kernels, and a browser's tab, for the tests of each module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from chromium import Page, chromium, program
from harness import Place
from lab import Lab, running_lab


@pytest.fixture(scope="module")
def lab(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab."""
    with running_lab(place, tmp_path_factory.mktemp("lab")) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser's tab."""
    path = program()
    if path is None:
        pytest.fail(
            "No Chromium is on PATH. Run: sudo apt-get install -y chromium (scripts/test does that, as root).", pytrace=False
        )
    with chromium(path, tmp_path_factory.mktemp("chromium")) as tab:
        yield tab
