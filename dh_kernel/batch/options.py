"""The options of `run` and `serve`, and what `--help` says.

Neighbours: `command` (reads command lines with them), `outcome` (the table of exit codes). Refuses to know what they mean.
"""

from __future__ import annotations

import argparse
from typing import NoReturn

from dh_kernel.attach_options import add_attach_options

from .outcome import EXIT_CODES

THEN = "--then"
_PARAMETER = "a variable, set before the script, or in a notebook's parameters as papermill does"
_DESCRIPTION = """\
Run scripts and notebooks on a Deephaven server, one after the other in one session. Scripts print to stdout and stderr as they
run; tables that they assign, and the value of a trailing expression, go to stdout. Options of `jupyter run` work too."""
_DESCRIPTION_OF_SERVE = "Run a script, then keep its server alive for dashboards until SIGINT or SIGTERM. Prints the URL."


class UsageError(Exception):
    """The command line is wrong."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0")
    return value


def _seconds_or_none(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value


def make_parser(prog: str, serves: bool) -> tuple[argparse.ArgumentParser, set[str], set[str]]:
    """The parser, and its options that take a value, and those that do not."""
    parser = _Parser(
        prog=prog,
        usage=f"{prog} [OPTIONS] (SCRIPT [ARGUMENT …] | NOTEBOOK.ipynb [OPTIONS] | -c CODE | -) [{THEN} …]",
        description=_DESCRIPTION_OF_SERVE if serves else _DESCRIPTION,
        epilog="exit codes:\n" + exit_code_lines(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    what = parser.add_argument_group("what to run")
    what.add_argument("-c", "--code", metavar="CODE", help="this code; arguments for it stand behind --")
    what.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help=_PARAMETER)
    what.add_argument(
        "-f", "--parameters-file", action="append", default=[], metavar="FILE", help="parameters in YAML or JSON"
    )
    what.add_argument("--env", action="append", default=[], metavar="NAME=VALUE", help="a variable for this run's server")
    where = parser.add_argument_group("where", "Without these, on a fresh server that ends with the run.")
    if serves:
        add_attach_options(where, "the port to serve on (default: any free one)")
    else:
        add_attach_options(where)
    where.add_argument("--shared-names", action="store_true", help="attached: use the server's global variables")
    where.add_argument("--python", metavar="PROGRAM", help="Python of the launched server")
    where.add_argument("--deephaven-version", metavar="VERSION", help="launch this version, installed once in a cache: 41.11")
    where.add_argument("--deephaven-packages", metavar="PACKAGES", help="what else is installed there, as one word for pip")
    where.add_argument("--java-home", metavar="DIRECTORY", help="JDK of the launched server")
    where.add_argument("--heap", metavar="SIZE", help="Java heap of the launched server: 4g, 512m")
    where.add_argument("--jvm-args", metavar="ARGUMENTS", help="more options for its Java, as one word: --jvm-args='-Xss2m'")
    where.add_argument("--existing", metavar="FILE", help="use the kernel with this connection file")
    shown = parser.add_argument_group("what is shown")
    shown.add_argument("--no-show-tables", action="store_true", help="show no assigned tables")
    shown.add_argument("--no-table-meta", action="store_true", help="no heading above a table")
    shown.add_argument("--rows", type=int, metavar="N", help="rows of a table's preview (default: 10)")
    shown.add_argument("--timings", action="store_true", help="a line on stderr: where the time of the start went")
    shown.add_argument("-q", "--quiet", action="store_true", help="no notes, no progress bar")
    shown.add_argument("-v", "--verbose", action="store_true", help="notes also where stderr is no terminal")
    form = shown.add_mutually_exclusive_group()
    form.add_argument(
        "--json", dest="form", action="store_const", const="json", default="text", help="one JSON object at the end"
    )
    form.add_argument(
        "--json-lines", dest="form", action="store_const", const="json-lines", help="events as JSON lines, as they happen"
    )
    limits = parser.add_argument_group("limits, in seconds")
    limits.add_argument("--timeout", type=_seconds, metavar="S", help="for all of it, the server's start included")
    limits.add_argument("--cell-timeout", type=_seconds, metavar="S", help="for each cell of a notebook, and each script")
    limits.add_argument(
        "--grace", type=_seconds_or_none, default=5.0, metavar="S", help="from an interrupt to the kill (default: %(default)g)"
    )
    notebook = parser.add_argument_group("notebooks")
    notebook.add_argument("-o", "--output", metavar="FILE", help="where the executed one goes (default: NAME.out.ipynb)")
    notebook.add_argument("--inplace", action="store_true", help="write it over the source")
    notebook.add_argument("--allow-errors", action="store_true", help="go on after a cell that fails")
    if serves:
        parser.add_argument("--show-key", action="store_true", help="print the key with the URL")
    valued: set[str] = set()
    plain: set[str] = set()
    for action in parser._actions:
        (plain if action.nargs == 0 else valued).update(action.option_strings)
    return parser, valued, plain


def exit_code_lines() -> str:
    """The table of exit codes, a line each."""
    lines = [f"  {code:<4} {meaning}" for code, meaning in EXIT_CODES.items()]
    return "\n".join([*lines, '  n    sys.exit(n) in the code; sys.exit("text") prints it and gives 1'])
