"""Commands for people: `jupyter deephaven …`, the same as `dh-kernel …`.

Job: arguments to calls, results and errors to text and exit codes: 0, 1 for an error, 64 for a wrong command line.
Neighbours: `install`; `batch`, which reads the words behind `run` and `serve` itself, since those behind a script are its own.
The kernel is not started from here but with `python -m dh_kernel`, by a front end.
Refuses to know: how anything is done.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from dh_kernel import __version__, versions
from dh_kernel.errors import DhKernelError, SettingsError
from dh_kernel.settings import VARIABLES, load_settings

EXIT_ERROR = 1
EXIT_USAGE = 64

# Options of `install` that are a setting each; the help texts are short forms of those in KernelSettings.
_SETTINGS = {
    "server": ("HOST:PORT", "attach to a running server; without it the kernel launches one"),
    "auth_type": ("TYPE", "psk, anonymous, basic, or the class name of an authentication handler"),
    "key_file": ("FILE", "file that holds the server's key; the key itself is never written"),
    "heap": ("SIZE", "Java heap of a launched server: 4g, 512m"),
    "java_home": ("DIRECTORY", "JDK for a launched server"),
    "python": ("PROGRAM", "Python for a launched server, with deephaven-server installed"),
    "deephaven_version": ("VERSION", "launch this version of Deephaven, which is installed now, in a cache: 41.11"),
    "deephaven_packages": (
        "PACKAGES",
        "what else is installed there, as one word: --deephaven-packages='deephaven-plugin-ui'",
    ),
    "jvm_args": ("ARGUMENTS", "more options for Java, as one word: --jvm-args='-Xss2m -Dname=value'"),
}
_PATHS = ("key_file", "java_home")  # written as absolute: a kernel starts in the directory of its notebook


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line, and leaves with the exit code that sysexits.h has for it."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    if words[:1] in (["run"], ["serve"]):
        from dh_kernel.batch.app import main as run

        return run(words[1:], f"{parser.prog} {words[0]}", serves=words[0] == "serve")
    arguments = parser.parse_args(words)
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
    except DhKernelError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def _parser() -> argparse.ArgumentParser:
    called_by_jupyter = os.path.basename(sys.argv[0]).startswith("jupyter-")
    parser = _Parser(
        prog="jupyter deephaven" if called_by_jupyter else "dh-kernel",
        description="The Jupyter kernel backed by Deephaven.",
    )
    parser.add_argument("--version", action="version", version=f"dh-kernel {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_install(commands)
    _add_doctor(commands)
    _add_standby(commands)
    parser_of_versions = commands.add_parser("versions", help="the versions of Deephaven that were installed for servers")
    parser_of_versions.add_argument("--remove", metavar="VERSION", help="remove one")
    parser_of_versions.set_defaults(command=_versions)
    commands.add_parser("run", help="run scripts and notebooks, and end with an exit code that tells how it went")
    commands.add_parser("serve", help="run a script and keep its server alive for dashboards")
    return parser


def _add_install(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "install",
        help="write a kernelspec that any Jupyter or VS Code of this user can start",
        description="Write a kernelspec with the absolute path of this Python, and with the settings given here.",
    )
    parser.set_defaults(command=_install)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="into the user's Jupyter directory (default)")
    where.add_argument("--sys-prefix", action="store_true", help="into this Python's environment")
    where.add_argument("--prefix", metavar="P", help="into P/share/jupyter/kernels")
    parser.add_argument("--name", default="deephaven", help="the name for --kernel (default: %(default)s)")
    parser.add_argument("--display-name", help="the name that front ends show (default: Deephaven, or the name)")
    for setting, (metavar, text) in _SETTINGS.items():
        parser.add_argument("--" + setting.replace("_", "-"), metavar=metavar, help=text)
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="one more environment variable; can be repeated"
    )


def _add_doctor(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="examine what the kernel needs, up to a cell on a real server",
        description="Examine what the kernel needs here. The exit code is 0 where all is well, and 1 where it is not.",
    )
    parser.set_defaults(command=_doctor)
    parser.add_argument("--json", action="store_true", help="the findings for programs")
    parser.add_argument("--no-trial", action="store_true", help="start no server, and attach to none")


def _add_standby(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "standby",
        help="spare servers that wait for the next kernels",
        description="Spare servers that wait for the next kernels of this user, as the setting `standby` has them kept.",
    )
    parser.set_defaults(command=_standby)
    parser.add_argument("action", choices=("start", "stop", "status"), help="of all; `start` waits until one is there")
    parser.add_argument("--kernel", metavar="NAME", help="start: with the settings of this kernelspec")
    parser.add_argument("--json", action="store_true", help="the state for programs")


def _standby(arguments: argparse.Namespace) -> None:
    from dh_kernel import standby  # the server room is not for `install`

    if arguments.action == "start":
        state = standby.start(arguments.kernel)
    elif arguments.action == "stop":
        state = standby.stop()
    else:
        state = standby.status()
    print(standby.as_json(state) if arguments.json else standby.as_text(state))
    if state.problem:
        sys.exit(EXIT_ERROR)


def _doctor(arguments: argparse.Namespace) -> None:
    from dh_kernel import doctor

    findings = []
    for finding in doctor.examine([], os.environ, trial=not arguments.no_trial):
        findings.append(finding)
        if not arguments.json:
            print(doctor.as_line(finding), flush=True)
    if arguments.json:
        print(doctor.as_json(findings))
    if not doctor.is_well(findings):
        sys.exit(EXIT_ERROR)


def _install(arguments: argparse.Namespace) -> None:
    from dh_kernel.install import DEFAULT_DISPLAY_NAME, DEFAULT_NAME, install  # jupyter_client takes a while to import

    name: str = arguments.name
    display_name = arguments.display_name
    if display_name is None:
        display_name = DEFAULT_DISPLAY_NAME if name == DEFAULT_NAME else name
    environment = _environment(arguments)
    _install_version(environment)
    installed = install(
        name=name,
        display_name=display_name,
        environment=environment,
        prefix=sys.prefix if arguments.sys_prefix else arguments.prefix,
    )
    print(f"Installed the kernel {display_name!r} in {installed.path}")
    print(f"It runs on {sys.executable}", *(f"  {name}={value}" for name, value in environment.items()), sep="\n")
    key_file = environment.get(VARIABLES["key_file"])
    if key_file is not None and not os.access(key_file, os.R_OK):
        print(f"The key file {key_file} cannot be read yet: it has to be there when the kernel starts.")
    if not installed.found:
        print(f"Jupyter does not look there by itself: export JUPYTER_PATH={os.path.dirname(installed.kernel_dir)}")
    print(f"Next: jupyter console --kernel {name.lower()}, or choose {display_name!r} in JupyterLab or VS Code.")


def _install_version(environment: dict[str, str]) -> None:
    """The environment that a kernelspec's kernels will use."""
    settings, problem = load_settings([], {**os.environ, **environment})
    wanted = versions.wanted(settings)
    if problem is None and wanted is not None:
        versions.provide(wanted, lambda line: print(line, file=sys.stderr, flush=True))


def _versions(arguments: argparse.Namespace) -> None:
    if arguments.remove is not None:
        if not versions.remove(arguments.remove):
            raise SettingsError(f"there is no {arguments.remove} in {versions.folder()}.")
        return
    for name in versions.installed():
        print(os.path.join(versions.folder(), name))


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    environment = {}
    for item in arguments.env:
        variable, equals, value = item.partition("=")
        if not (variable and equals):
            raise SettingsError(f"--env wants NAME=VALUE, and there is no {'name' if equals else '='} in what it got.")
        environment[variable] = value
    for setting in _SETTINGS:
        value = getattr(arguments, setting)
        if value is None:
            continue
        is_path = setting in _PATHS or (setting == "python" and os.path.dirname(value))  # a bare `python3.12` is for PATH
        environment[VARIABLES[setting]] = os.path.abspath(os.path.expanduser(value)) if is_path else value
    return environment
