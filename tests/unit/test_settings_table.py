"""docs/settings.md has every setting as the code declares it, and each way to say it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dh_kernel.cli import main
from dh_kernel.declarations import DECLARATIONS, FIELDS, Declaration, KernelSettings, Settings
from dh_kernel.settings import load_settings

ROOT = Path(__file__).parent.parent.parent


def test_the_table_is_what_the_code_says() -> None:
    """Run scripts/settings_table.py after a change."""
    command = [sys.executable, str(ROOT / "scripts/settings_table.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_setting_is_declared_once_and_has_a_meaning() -> None:
    names = [declared.name for declared in DECLARATIONS]
    assert len(names) == len(set(names)) == len({declared.variable for declared in DECLARATIONS})
    for declared in DECLARATIONS:
        assert declared.help.endswith("."), declared.name
        assert len(declared.help) > 20, declared.name


@pytest.mark.parametrize("declared", [each for each in FIELDS.values() if each.bounds], ids=lambda each: each.name)
def test_bounds_hold_and_are_allowed_themselves(declared: Declaration) -> None:
    assert declared.bounds is not None
    field = next(field for field, each in FIELDS.items() if each is declared)
    kind = type(getattr(Settings(), field))
    for value in declared.bounds:
        settings, error = load_settings([], {declared.variable: str(kind(value))}, [])
        assert error is None
        assert getattr(settings, field) == value
    for value in (declared.bounds[0] - 1, declared.bounds[1] + 1):
        _, error = load_settings([], {declared.variable: str(kind(value))}, [])
        assert error is not None
        assert declared.variable in str(error)


@pytest.mark.parametrize("declared", list(FIELDS.values()), ids=lambda each: each.name)
def test_each_default_is_what_the_option_tells(declared: Declaration) -> None:
    """And what is given as it stands there changes nothing."""
    assert declared.raw == getattr(KernelSettings(), declared.name) or declared.raw == ()
    field = next(field for field, each in FIELDS.items() if each is declared)
    if declared.raw not in ("", ()):
        settings, error = load_settings([f"--KernelSettings.{declared.name}={declared.raw}"], {}, [])
        assert error is None
        assert getattr(settings, field) == getattr(Settings(), field)


def test_install_has_an_option_for_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["install", "--help"])
    told = capsys.readouterr().out
    for declared in FIELDS.values():
        assert f"{declared.option} " in told
    assert main(["install", "--prefix", str(tmp_path), "--live-interval", "2.5", "--show-tables", "0"]) == 0
    kernel = (tmp_path / "share/jupyter/kernels/deephaven/kernel.json").read_text("utf-8")
    assert '"DH_KERNEL_LIVE_INTERVAL": "2.5"' in kernel
    assert '"DH_KERNEL_SHOW_TABLES": "0"' in kernel
