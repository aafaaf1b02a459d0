"""The doctor's trial cell on a server that others use."""

from __future__ import annotations

from pathlib import Path

from harness import wait_until
from sessions import Console, Kind

from dh_kernel import doctor
from dh_kernel.settings import Settings


def test_it_leaves_the_names_of_an_attached_server_as_they_were(vanilla_kind: Kind, tmp_path: Path) -> None:
    console = Console(vanilla_kind.endpoint, tmp_path)
    try:
        console.session.run_script("empty_table = 'mine'")
        before = set(console.value("sorted(globals())"))
        [finding] = doctor._attach(Settings(endpoint=vanilla_kind.endpoint))
        assert finding.state == doctor.OK, finding
        wait_until(lambda: set(console.value("sorted(globals())")) <= before, "its session's end")
        assert console.value("empty_table") == "mine"
    finally:
        console.session.run_script("del empty_table")
        console.close()
