"""The command line of `run` and `serve`: what is to run, where, how it is shown, and what limits it has.

Job: words to an `Order`, or to a complaint. Neighbours: `options`, `parameters`; `app` carries the order out. Refuses
to know Jupyter, but for its run app's options, which are passed on.

The words behind a script are the script's own, as with `python script.py`. So our options stand before it, or anywhere where
there is no script: with `-c`, and around a notebook.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dh_kernel.attach_options import as_options, attach_settings, closest_option
from dh_kernel.credentials import Unread
from dh_kernel.errors import SettingsError
from dh_kernel.settings import as_arguments, load_settings

from . import parameters
from .options import THEN, UsageError, make_parser
from .outcome import USAGE

_FORMS = "Name a script, a notebook, - for the standard input, or give -c CODE"
_TRAIT = re.compile(r"--[A-Z]\w*\.[\w.]+=.*", re.DOTALL)


@dataclass(frozen=True)
class Item:
    """One thing to run. `file` is absolute, None for `-c` and stdin; `arguments` begin with what is `sys.argv[0]`.

    The code of stdin is read when the run has begun: whoever writes it may take long, or never end.
    """

    kind: str  # "script", "code", "stdin", "notebook"
    name: str
    file: str | None = None
    code: str = ""
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """All that a command line says. Seconds are None where there is no limit.

    `settings` are the kernel's, for its command line, so that they go before a kernelspec's and before variables.
    """

    items: tuple[Item, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    settings: dict[str, list[str]] = field(default_factory=dict)
    jupyter: tuple[str, ...] = ()
    existing: str | None = None
    form: str = "text"  # "json", "json-lines"
    show_tables: bool = True
    table_meta: bool = True
    quiet: bool = False
    verbose: bool = False
    timeout_s: float | None = None
    cell_timeout_s: float | None = None
    grace_s: float = 5.0
    output: str | None = None
    allow_errors: bool = False
    serves: bool = False
    show_key: bool = False

    @property
    def attached(self) -> bool:
        """Whether the server is somebody else's."""
        environ = {**os.environ, **self.environ}
        settings, _ = load_settings(as_arguments(self.settings), environ, secrets=Unread())
        return settings.endpoint is not None or bool(self.existing)


def order_of(argv: Sequence[str], prog: str, *, serves: bool = False) -> Order:
    """Read a command line.

    Raises:
        UsageError: the text says what is wrong.
        SystemExit: `--help` has been printed.
    """
    parser, valued, plain = make_parser(prog, serves)
    segments = _segments(argv)
    words, rest, jupyter = _split(segments[0], valued, plain)
    if rest and rest[0].endswith(".ipynb") and not _has_code(words):
        more, left, jupyter_too = _split(rest[1:], valued, plain)
        if left:
            raise UsageError(f"a notebook takes no arguments, and there is {left[0]!r}. Use -p name=value")
        words, rest, jupyter = [*words, *more], rest[:1], [*jupyter, *jupyter_too]
    given = parser.parse_args(words)
    try:
        items = [_item(given.code, rest), *(_later_item(segment) for segment in segments[1:])]
        return _order(given, tuple(items), tuple(jupyter), serves)
    except SettingsError as error:
        raise UsageError(str(error).rstrip(".")) from None


# Words


def _segments(argv: Sequence[str]) -> list[list[str]]:
    segments: list[list[str]] = [[]]
    for number, word in enumerate(argv):
        if word == "--":
            segments[-1] += argv[number:]
            break
        if word == THEN:
            segments.append([])
        else:
            segments[-1].append(word)
    return segments


def _split(argv: Sequence[str], valued: set[str], plain: set[str]) -> tuple[list[str], list[str], list[str]]:
    """Our options, what follows them, and the options that Jupyter's run app has."""
    ours: list[str] = []
    jupyters: list[str] = []
    words = list(argv)
    while words:
        word = words[0]
        if word == "--":
            return ours, words, jupyters
        if word == "-" or not word.startswith("-"):
            return ours, words, jupyters
        del words[0]
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        if name in valued:
            ours.append(word)
            if name == word:
                if not words:
                    raise UsageError(f"{name} wants a value")
                ours.append(words.pop(0))
        elif name in plain:
            ours.append(word)
        else:
            jupyters += _jupyters(word, words, valued | plain)
    return ours, [], jupyters


def _jupyters(word: str, left: list[str], known: set[str]) -> list[str]:
    """An option of Jupyter's run app, with its value, which is taken from the words that are left."""
    if _TRAIT.fullmatch(word):
        return [word]
    from jupyter_client.runapp import aliases, flags

    name, equals, _ = word.lstrip("-").partition("=")
    if word.startswith("--") and name in aliases and name != "existing":
        if equals:
            return [word]
        if not left:
            raise UsageError(f"{word} wants a value")
        return [word, left.pop(0)]
    if (word.startswith("--") and name in flags) or word in ("-y", "--help-all"):
        return [word]
    close = closest_option(f"--{name}", known)
    raise UsageError(f"there is no option {word.partition('=')[0]}{f', but {close}' if close else ''}; see --help")


def _has_code(words: list[str]) -> bool:
    return any(word == "--code" or (word.startswith("-c") and not word.startswith("--")) for word in words)


# What runs


def _item(code: str | None, rest: list[str]) -> Item:
    arguments = rest[1:]
    if code is not None:
        if rest and rest[0] != "--":
            raise UsageError(
                f"there is -c, and {rest[0]!r} too: one thing at a time, others behind {THEN}, arguments behind --"
            )
        return Item("code", "-c", code=code, arguments=("-c", *arguments))
    if rest[:1] == ["--"]:
        rest = rest[1:]
        arguments = rest[1:]
    if not rest:
        raise UsageError(f"nothing to run. {_FORMS}")
    name = rest[0]
    if name == "-":
        return Item("stdin", "-", arguments=("-", *arguments))
    if name.endswith(".ipynb"):
        if arguments:
            raise UsageError(f"a notebook takes no arguments, and there is {arguments[0]!r}. Use -p name=value")
        return Item("notebook", name, file=_existing_file(name))
    return Item("script", name, _existing_file(name), _read_script(name), (name, *arguments))


def _later_item(words: list[str]) -> Item:
    if words[:1] == ["-c"]:
        if len(words) < 2:
            raise UsageError("-c wants a value")
        return _item(words[1], words[2:])
    if words and words[0].startswith("-") and words[0] not in ("-", "--"):
        raise UsageError(f"options stand before the first {THEN}, and {words[0]} stands behind it")
    return _item(None, words)


def _existing_file(name: str) -> str:
    if not os.path.isfile(name):
        raise UsageError(f"there is no file {name}")
    return os.path.abspath(name)


def _read_script(name: str) -> str:
    try:
        return decoded(Path(name).read_bytes(), name)
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}") from None


def decoded(raw: bytes, name: str) -> str:
    """Source text by Python's rules: a byte order mark, or a comment that names the encoding, or UTF-8; all line ends.

    Raises:
        UsageError: it is no Python source.
    """
    lines = iter(raw.splitlines(keepends=True))
    try:
        encoding, _ = tokenize.detect_encoding(lambda: next(lines, b""))
        text = raw.decode(encoding)
    except (SyntaxError, UnicodeDecodeError, LookupError) as error:
        raise UsageError(f"{name} is no Python source: {error}") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


# What the options mean


def _order(given: argparse.Namespace, items: tuple[Item, ...], jupyter: tuple[str, ...], serves: bool) -> Order:
    values: dict[str, Any] = {}
    for file in given.parameters_file:
        values.update(parameters.from_file(file))
    values.update(parameters.parsed(text) for text in given.parameter)
    order = Order(
        items,
        values,
        _environ(given),
        _settings(given, serves),
        jupyter,
        given.existing,
        given.form,
        show_tables=not given.no_show_tables,
        table_meta=not given.no_table_meta,
        quiet=given.quiet,
        verbose=given.verbose,
        timeout_s=given.timeout,
        cell_timeout_s=given.cell_timeout,
        grace_s=given.grace,
        output=_output(given, items),
        allow_errors=given.allow_errors,
        serves=serves,
        show_key=bool(getattr(given, "show_key", False)),
    )
    _check(order, given)
    return order


def _check(order: Order, given: argparse.Namespace) -> None:
    if "server" not in order.settings and not order.attached and _OF_ATTACHED & order.settings.keys():
        raise UsageError("--auth-type, --auth-token-file, --tls and the like go with --host")
    if order.attached and (order.items[0].arguments[1:] or any(item.arguments[1:] for item in order.items)):
        raise UsageError("sys.argv belongs to the server's process, which others use too. Use -p name=value")
    names = ("python", "deephaven_version", "deephaven_packages", "heap", "jvm_args", "java_home")
    launched_only = [name for name in names if getattr(given, name, None) is not None]
    if order.attached and (launched_only or given.env):
        option = "--" + launched_only[0].replace("_", "-") if launched_only else "--env"
        raise UsageError(f"{option} is for a server that is launched, and this one runs already")
    wrong = _wrong(order)
    if wrong:
        raise UsageError(wrong)
    if order.existing and "server" in order.settings:
        raise UsageError("--existing names a kernel, and --host a server: only one of them")


def _wrong(order: Order) -> str:
    """What is wrong with the options for the kernel. Told before it starts: they would be on its command line."""
    environ = {**os.environ, **order.environ}
    _, error = load_settings(as_arguments(order.settings), environ, secrets=Unread())
    lines = [line for line in str(error or "").splitlines() if line.startswith("--KernelSettings.")]
    return as_options(" ".join(lines)).rstrip(".")


def _output(given: argparse.Namespace, items: tuple[Item, ...]) -> str | None:
    notebooks = [item for item in items if item.kind == "notebook"]
    if given.output is None and not given.inplace:
        return None
    if not notebooks:
        raise UsageError("--output and --inplace are for a notebook")
    if given.inplace:
        if given.output is not None:
            raise UsageError("one of --output and --inplace")
        return ""
    if len(notebooks) > 1:
        raise UsageError("--output names one file, and there are several notebooks")
    return os.path.abspath(str(given.output))


_OF_ATTACHED = {
    "auth_type",
    "key_file",
    "tls",
    "tls_ca_cert",
    "tls_client_cert",
    "tls_client_key",
    "headers",
    "channel_options",
}


def _environ(given: argparse.Namespace) -> dict[str, str]:
    """More variables of the kernel process."""
    environ: dict[str, str] = {}
    for item in given.env:
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise UsageError("--env wants NAME=VALUE")
        environ[name] = value
    return environ


def _settings(given: argparse.Namespace, serves: bool) -> dict[str, list[str]]:
    """The kernel's settings."""
    settings = attach_settings(given, lone_port=serves)
    if serves and (settings or given.existing is not None):
        raise UsageError("serve launches its server: --host, its like and --existing are for run")
    values = {
        "python": given.python,
        "java_home": given.java_home,
        "heap": given.heap,
        "jvm_args": given.jvm_args,
        "deephaven_version": given.deephaven_version,
        "deephaven_packages": given.deephaven_packages,
        "rows": given.rows,
        "port": given.port if serves else None,
        "private_names": "0" if given.shared_names else "1",
        "detached_time_s": "0",  # who would pick it up?
        "restart": "never",  # a fresh server would not have what was made before
        "show_tables": "0" if given.no_show_tables else None,
        "timings": "1" if given.timings else None,
    }
    return {**settings, **{name: [str(value)] for name, value in values.items() if value is not None}}


def complain(prog: str, error: UsageError) -> int:
    """Print what is wrong; the exit code."""
    print(f"usage: {prog} [OPTIONS] (SCRIPT [ARGUMENT …] | NOTEBOOK.ipynb | -c CODE | -)", file=sys.stderr)
    print(f"{prog}: {error}.", file=sys.stderr)
    return USAGE
