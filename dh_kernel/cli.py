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
from dataclasses import asdict
from typing import Any, NoReturn

from dh_kernel import __version__, versions
from dh_kernel.attach_options import DEFAULT_PORT, PATHS, absolute, add_attach_options, attach_settings, closest_option
from dh_kernel.credentials import Unread
from dh_kernel.declarations import FIELDS, Declaration
from dh_kernel.errors import DhKernelError, SettingsError
from dh_kernel.settings import VARIABLES, as_arguments, load_settings

EXIT_ERROR = 1
EXIT_USAGE = 64


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line, and leaves with the exit code that sysexits.h has for it.

    No abbreviations: `--key` would be `--key-file`, and a key be taken for a path. What stands behind an option that is not
    known may be a key, and is not repeated.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **options})

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """The arguments, all of them known."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(_unknown(unknown, _options_of(self, found)))
        return found

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def _options_of(parser: argparse.ArgumentParser, found: argparse.Namespace) -> list[str]:
    chosen = getattr(found, "chosen", None)
    return [option for action in (chosen or parser)._actions for option in action.option_strings]


def _unknown(words: Sequence[str], options: Sequence[str]) -> str:
    names = [word.partition("=")[0] for word in words if word.startswith("-")]
    if not names:
        return "there are more words than the command takes"
    close = closest_option(names[0], options)
    return f"there is no option {names[0]}." + (f" Did you mean {close}?" if close else "")


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
    _add_list(commands)
    _add_uninstall(commands)
    _add_doctor(commands)
    _add_standby(commands)
    _add_archive(commands)
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
    parser.set_defaults(command=_install, chosen=parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--user", action="store_true", help="into the user's Jupyter directory (default)")
    where.add_argument("--sys-prefix", action="store_true", help="into this Python's environment")
    where.add_argument("--prefix", metavar="P", help="into P/share/jupyter/kernels")
    parser.add_argument("--name", default="deephaven", help="the name for --kernel (default: %(default)s)")
    parser.add_argument("--display-name", help="the name that front ends show (default: Deephaven, or the name)")
    add_attach_options(
        parser.add_argument_group("a server that runs already", "Without these the kernel launches one."),
        f"its port (default: {DEFAULT_PORT}); without --host the port of a launched server",
    )
    group = parser.add_argument_group("settings of the kernel", "docs/settings.md has them all; yes or no is 1 or 0.")
    for setting in _settings_of_install():
        group.add_argument(setting.option, dest=setting.name, metavar="VALUE", help=setting.help.replace("%", "%%"))
    parser.add_argument(
        "--env", action="append", default=[], metavar="NAME=VALUE", help="one more environment variable; can be repeated"
    )


def _settings_of_install() -> list[Declaration]:
    """Those that have an option of their own there, beside those of an attached server."""
    return [declared for declared in FIELDS.values() if declared.name != "port"]


def _add_list(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "list",
        help="the kernelspecs of this kernel, where they lead, and what is wrong with them",
        description="The kernelspecs of this kernel that Jupyter finds. The exit code is 1 where one would not work.",
    )
    parser.set_defaults(command=_list, chosen=parser)
    parser.add_argument("--json", action="store_true", help="the same for programs")


def _list(arguments: argparse.Namespace) -> None:
    from dh_kernel.kernelspecs import Spec, find

    specs = [spec for spec in find() if isinstance(spec, Spec)]
    if arguments.json:
        import json

        kernels = [{**asdict(spec), "settings": dict(spec.settings)} for spec in specs]
        print(json.dumps({"version": __version__, "kernels": kernels}, indent=2))
    for spec in [] if arguments.json else specs:
        leads = f"attaches to {spec.server}" if spec.server else "launches a server"
        print(f"{spec.name}  ({spec.display_name})  {leads}\n    {spec.path}\n    {spec.python}")
        for name, value in spec.settings.items():
            print(f"    {name} = {value}")
        for problem in spec.problems:
            print(f"    PROBLEM: {problem}")
    if not specs and not arguments.json:
        print("Jupyter finds no kernelspec of this kernel: install one with the command install.")
    if any(spec.problems for spec in specs):
        sys.exit(EXIT_ERROR)


def _add_uninstall(commands: argparse._SubParsersAction[_Parser]) -> None:
    for name, about in (("uninstall", "remove kernelspecs of this kernel, and no others"), ("remove", "the same")):
        parser = commands.add_parser(name, help=about, description="Remove kernelspecs of this kernel, as `list` shows them.")
        parser.set_defaults(command=_uninstall, chosen=parser)
        parser.add_argument("names", nargs="+", metavar="NAME", help="the name for --kernel")


def _uninstall(arguments: argparse.Namespace) -> None:
    from dh_kernel.kernelspecs import uninstall

    for name in arguments.names:
        path, other = uninstall(name)
        print(f"Removed {path}")
        if other is not None:
            print(f"Jupyter now finds another kernelspec {name!r}, in {other}")


def _add_doctor(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "doctor",
        help="examine what the kernel needs, up to a cell on a real server",
        description="Examine what the kernel needs here. The exit code is 0 where all is well, and 1 where it is not.",
    )
    parser.set_defaults(command=_doctor, chosen=parser)
    parser.add_argument("--json", action="store_true", help="the findings for programs")
    parser.add_argument("--no-trial", action="store_true", help="start no server, and attach to none")
    add_attach_options(parser.add_argument_group("a server that runs already", "Without these, where the settings lead."))


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
        state = standby.start(arguments.kernel, _tell)
    elif arguments.action == "stop":
        state = standby.stop()
    else:
        state = standby.status()
    print(standby.as_json(state) if arguments.json else standby.as_text(state))
    if state.problem:
        sys.exit(EXIT_ERROR)


def _tell(step: str) -> None:
    print(step, file=sys.stderr, flush=True)


def _add_archive(commands: argparse._SubParsersAction[_Parser]) -> None:
    parser = commands.add_parser(
        "archive",
        help="the archives of Java's classes that servers start from",
        description="The archives of Java's classes that servers start from. A kernel makes its own after the first start."
        " `remove` also removes the formulas that are kept.",
    )
    parser.set_defaults(command=_archive)
    parser.add_argument("action", choices=("make", "remove", "status"), help="make one now, remove all, what there is")
    parser.add_argument("--kernel", metavar="NAME", help="make: for the settings of this kernelspec")


def _archive(arguments: argparse.Namespace) -> None:
    from dh_kernel import archive  # the server room is not for `install`

    if arguments.action == "make" and not archive.make(arguments.kernel, _tell):
        print("There is nothing to make.", file=sys.stderr)
    print(archive.remove() if arguments.action == "remove" else archive.status())


def _doctor(arguments: argparse.Namespace) -> None:
    from dh_kernel import doctor

    try:
        settings = attach_settings(arguments)
    except SettingsError as error:  # of the command line itself: 1 would mean that something here is not well
        arguments.chosen.error(str(error))
    findings = []
    for finding in doctor.examine(as_arguments(settings), os.environ, trial=not arguments.no_trial):
        findings.append(finding)
        if not arguments.json:
            print(doctor.as_line(finding), flush=True)
    if arguments.json:
        print(doctor.as_json(findings))
    if not doctor.is_well(findings):
        sys.exit(EXIT_ERROR)


def _install(arguments: argparse.Namespace) -> None:
    # jupyter_client takes a while to import
    from dh_kernel.install import DEFAULT_DISPLAY_NAME, DEFAULT_NAME, check_environment, check_name, install

    name: str = arguments.name
    display_name = arguments.display_name
    if display_name is None:
        display_name = DEFAULT_DISPLAY_NAME if name == DEFAULT_NAME else name
    environment = _environment(arguments)
    check_name(name, display_name)
    check_environment(environment)
    _install_version(environment)  # takes minutes
    installed = install(
        name=name,
        display_name=display_name,
        environment=environment,
        prefix=sys.prefix if arguments.sys_prefix else arguments.prefix,
    )
    print(f"Installed the kernel {display_name!r} in {installed.path}")
    print(f"It runs on {sys.executable}", *(f"  {name}={value}" for name, value in environment.items()), sep="\n")
    for setting in PATHS:
        file = environment.get(VARIABLES[setting])
        if file is not None and os.path.isabs(file) and not os.access(file, os.R_OK):
            print(f"{file} cannot be read yet: it has to be there when the kernel starts.")
    if not installed.found:
        print(f"Jupyter does not look there by itself: export JUPYTER_PATH={os.path.dirname(installed.kernel_dir)}")
    print(f"Next: jupyter console --kernel {name.lower()}, or choose {display_name!r} in JupyterLab or VS Code.")


def _install_version(environment: dict[str, str]) -> None:
    """The version of Deephaven that the kernelspec's kernels will use."""
    settings, problem = load_settings([], {**os.environ, **environment}, secrets=Unread())
    wanted = versions.wanted(settings)
    if problem is None and wanted is not None:
        versions.provide(wanted, _tell)


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
    settings = absolute(attach_settings(arguments, lone_port=True))
    if arguments.port is not None and "server" not in settings:
        settings["port"] = [str(arguments.port)]
    for name in (setting.name for setting in _settings_of_install()):
        value = getattr(arguments, name)
        if value is not None:
            is_path = name == "java_home" or (name == "python" and os.path.dirname(value))  # `python3.12` is for PATH
            settings[name] = [os.path.abspath(os.path.expanduser(value)) if is_path else value]
    environment.update({VARIABLES[setting]: " ".join(texts) for setting, texts in settings.items()})
    return environment
