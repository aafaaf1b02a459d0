"""Write a kernelspec with an absolute interpreter path and with settings baked in.

Job: check names and settings, and hand a finished directory to Jupyter. The wheel brings a kernelspec too, but a wheel cannot
know the path of its interpreter: this one can be used by a Jupyter or a VS Code of any other environment.
Neighbours: `settings` for the names and the checks, jupyter_client for the place; `cli` calls it.
Refuses to know: the kernel itself. Writes no secret: everybody can read a kernelspec, and images and backups hold it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_client.kernelspec import KernelSpecManager

from dh_kernel.attaching import KEY_VARIABLE
from dh_kernel.credentials import Unread
from dh_kernel.errors import SettingsError
from dh_kernel.settings import KERNELSPEC_VARIABLE, PREFIX, VARIABLES, load_settings

DEFAULT_NAME = "deephaven"
DEFAULT_DISPLAY_NAME = "Deephaven"

_SECRET_NAME = re.compile(r"(^|[_.])(API_?)?(KEY|PSK|PASS|PWD)($|[_.=])|PASSW|SECRET|TOKEN|CREDENTIAL", re.IGNORECASE)
_NAMES_A_FILE = re.compile(r"_(FILE|PATH|DIR)$", re.IGNORECASE)
_JAVA_PROPERTY = re.compile(r"-D([^\s=]+)=")
# Names that VS Code takes for a Python environment of its own: it then starts ipykernel instead of what argv says.
_PYTHONS_OF_VSCODE = re.compile(r"python\d*.?\d*")
_DISPLAY_NAMES_OF_VSCODE = ("python 3", "python 3 (ipykernel)")


@dataclass(frozen=True)
class Installed:
    """Where the kernelspec is, and if Jupyter looks there by itself."""

    path: str
    found: bool

    @property
    def kernel_dir(self) -> str:
        """The directory of kernelspecs that holds it."""
        return os.path.dirname(self.path)


def install(
    *,
    name: str = DEFAULT_NAME,
    display_name: str = DEFAULT_DISPLAY_NAME,
    environment: Mapping[str, str] | None = None,
    prefix: str | None = None,
) -> Installed:
    """Write a kernelspec, over one of the same name if there is one.

    Args:
        environment: variables that the kernel starts with, our settings among them.
        prefix: below which `share/jupyter/kernels` is; None: the user's own directory, where every Jupyter of that user looks.
    Raises:
        SettingsError: a name or a setting cannot be used, a variable would bake in a secret, or the place cannot be written.
    """
    environment = dict(environment or {})
    check_name(name, display_name)
    check_environment(environment)
    manager = KernelSpecManager()
    with tempfile.TemporaryDirectory() as scratch:
        staged = _stage(Path(scratch) / name, kernel_dict(display_name, environment))
        try:
            path = manager.install_kernel_spec(str(staged), kernel_name=name, user=prefix is None, prefix=prefix)
        except OSError as error:
            raise SettingsError(
                f"The kernelspec cannot be written to {error.filename or prefix}: {error.strerror}."
                " Use --user, or --prefix with a directory of yours."
            ) from error
    return Installed(path, found=os.path.dirname(path) in manager.kernel_dirs)


def kernel_dict(display_name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """The content of kernel.json: the wheel's own, with this interpreter's absolute path and with an environment."""
    spec: dict[str, Any] = json.loads((_resources() / "kernel.json").read_text("utf-8"))
    spec["argv"][0] = sys.executable
    spec["display_name"] = display_name
    spec["env"] = {**environment, **_mark(environment)}
    spec["metadata"]["debugger"] = not environment.get(VARIABLES["server"])  # JupyterLab offers it where this says so
    return spec


def check_name(name: str, display_name: str) -> None:
    """Refuse names that Jupyter or VS Code cannot work with."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise SettingsError(
            f"{name!r} is no name for a kernel: use ASCII letters, digits and - . _ only, such as {DEFAULT_NAME}."
        )
    if _PYTHONS_OF_VSCODE.fullmatch(name.lower()) or display_name.lower() in _DISPLAY_NAMES_OF_VSCODE:
        shown = name if _PYTHONS_OF_VSCODE.fullmatch(name.lower()) else display_name
        raise SettingsError(
            f"VS Code takes a kernel named {shown!r} for plain Python: use another name, such as {DEFAULT_NAME}."
        )
    if not display_name.strip():
        raise SettingsError("The display name is empty: it is what front ends show.")


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuse secrets, and settings that the kernel would refuse. Files that are named may be missing: they can come later."""
    for variable, value in environment.items():
        properties = _JAVA_PROPERTY.findall(value) if variable == VARIABLES["jvm_args"] else []
        for name in (variable, *properties):
            if name == KEY_VARIABLE or (_SECRET_NAME.search(name) and not _NAMES_A_FILE.search(name)):
                raise SettingsError(
                    f"{name} looks like a secret, and a kernelspec can be read by everybody. Put the key into a file that only"
                    f" you can read and name it with --key-file, or set {KEY_VARIABLE} in the environment that starts Jupyter."
                )
    _, error = load_settings([], {**environment, **_mark(environment)}, config_dirs=[], secrets=Unread())
    if error is not None:
        raise error


def _mark(environment: Mapping[str, str]) -> dict[str, str]:
    """A variable that tells which settings are the kernelspec's: they go before the user's own variables."""
    names = [name.removeprefix(PREFIX) for name in environment if name in VARIABLES.values()]
    return {KERNELSPEC_VARIABLE: " ".join(names)} if names else {}


def _stage(directory: Path, spec: Mapping[str, Any]) -> Path:
    directory.mkdir()
    for logo in _resources().glob("logo-*"):
        shutil.copyfile(logo, directory / logo.name)
    (directory / "kernel.json").write_text(json.dumps(spec, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return directory


def _resources() -> Path:
    """The kernelspec as it is shipped: inside the package in a wheel, beside it in a checkout."""
    inside = Path(__file__).parent / "kernelspec"
    return inside if inside.is_dir() else Path(__file__).parent.parent / "kernelspec"
