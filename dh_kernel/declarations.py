"""Every setting, each at one place: its name, type, default, bounds, meaning, and for which servers it is.

Job: `Settings`, whose fields declare themselves; and from the declarations traitlets' options, the names of the environment
variables, and what `%dh set` changes. `scripts/settings_table.py` makes docs/settings.md of them, and a unit test compares.
Neighbours: `checks`; `settings` reads values and checks them. Cheap to import, since the server is started after this.

To add one: a field of `Settings` with `setting(default, help, …)`, and run scripts/settings_table.py. A whole number or a
decimal one has bounds, a text has a check where not everything will do.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar, cast

from traitlets import Bool, Float, Int, List, TraitType, Unicode
from traitlets.config import Configurable

from dh_kernel import checks
from dh_kernel.model import Endpoint

PREFIX = "DH_KERNEL_"
JUPYTERS_NAME = "JPY_SESSION_NAME"  # Jupyter Server tells its kernels by it which notebook, or console, they are for
LAUNCHED, ATTACHED = "launched", "attached"

T = TypeVar("T")


@dataclass(frozen=True)
class Declaration:
    """One setting. `raw` is its default as the user would write it; `bounds` are those of a number.

    `only`: for launched or for attached servers; the other kind is contradicted by it. `by_cell`: `%dh set` changes it.
    `fallback`: a variable of somebody else's that is looked at last. `shown`: the default in words, where `raw` says little.
    """

    name: str
    help: str
    raw: Any
    check: Callable[[Any], Any]
    bounds: tuple[float, float] | None = None
    only: str = ""
    by_cell: bool = False
    fallback: str = ""
    shown: str = ""

    @property
    def variable(self) -> str:
        """Its environment variable: a unit of time is not in the name."""
        return PREFIX + self.name.removesuffix("_s").upper()

    @property
    def option(self) -> str:
        """Its option where a command has one."""
        return "--" + self.name.removesuffix("_s").replace("_", "-")

    def trait(self) -> TraitType[Any, Any]:
        """Its option as traitlets has it."""
        kinds: dict[type, type[TraitType[Any, Any]]] = {bool: Bool, int: Int, float: Float, str: Unicode}
        made: Any = List(Unicode(), help=self.help) if self.raw == () else kinds[type(self.raw)](self.raw, help=self.help)
        return cast("TraitType[Any, Any]", made.tag(config=True))


def setting(
    default: T,
    help: str,
    *,
    name: str = "",
    raw: Any = None,
    check: Callable[[Any], Any] | None = None,
    bounds: tuple[float, float] | None = None,
    **more: Any,
) -> T:
    """A field of `Settings` that the user may set.

    Args:
        name: where it is not the field's.
        raw: the default as the user would write it, where that is not the default itself.
    """
    raw = default if raw is None else raw
    kept = checks.number(*bounds) if bounds is not None else check or type(raw)
    made: T = field(default=default, metadata={"setting": Declaration(name, help, raw, kept, bounds, **more)})
    return made


def _of_endpoint(name: str, raw: Any, help: str, shown: str = "", only: str = ATTACHED) -> Declaration:
    """One that is a part of `Settings.endpoint`: `attaching` checks it."""
    return Declaration(name, help, raw, type(raw), only=only, shown=shown)


OF_ENDPOINT = (
    _of_endpoint(
        "server",
        "",
        "Attach to the Deephaven server at this 'host:port', 'dh+plain://host:port' or 'dh+tls://host:port'; empty: launch one"
        " for this kernel alone.",
        "launch one",
        only="",
    ),
    _of_endpoint(
        "auth_type",
        "",
        "How to authenticate at an attached server: 'psk', 'anonymous', 'basic', or the class name of a handler.",
        "psk if a key is given, else anonymous",
    ),
    _of_endpoint(
        "key_file",
        "",
        "File that holds the key of an attached server ('user:password' for basic), readable by its owner only; or"
        " 'env:VARIABLE', or 'keyring:SERVICE/USER'. The key itself can be given in the environment variable DH_KERNEL_KEY,"
        " which goes before a file that is not named on the command line.",
        "none",
    ),
    _of_endpoint("tls", False, "Speak TLS with an attached server. A URL dh+tls:// and the three files below say so too."),
    _of_endpoint(
        "tls_ca_cert",
        "",
        "PEM file with the certificate authorities that an attached server's certificate may come from.",
        "those that this machine trusts",
    ),
    _of_endpoint(
        "tls_client_cert", "", "PEM file with the certificate by which the kernel shows who it is: mutual TLS.", "none"
    ),
    _of_endpoint(
        "tls_client_key",
        "",
        "PEM file with that certificate's private key, without a passphrase, readable by its owner only; or 'env:VARIABLE', or"
        " 'keyring:SERVICE/USER'.",
        "none",
    ),
    _of_endpoint(
        "headers",
        (),
        "More headers for an attached server, or for a proxy before it: 'NAME=file:PATH', 'NAME=env:VARIABLE',"
        " 'NAME=keyring:SERVICE/USER', or 'NAME=text:VALUE' where it is no secret.",
    ),
    _of_endpoint(
        "channel_options",
        (),
        "gRPC's options for the channel to an attached server: 'grpc.ssl_target_name_override=dh.example.org'.",
    ),
)


@dataclass(frozen=True)
class Settings:
    """The checked values. `endpoint` None: launch a server.

    `warnings` are for the user's eyes, once; the values can be used all the same. `withheld`: the variables that a secret was
    taken from, with their values; nothing that this process starts shall inherit them.
    """

    endpoint: Endpoint | None = None
    python: str = setting(
        sys.executable,
        "Python interpreter for a launched server; its environment needs deephaven-server.",
        raw="",
        check=checks.executable_path,
        only=LAUNCHED,
        shown="the kernel's",
    )
    java_home: str | None = setting(
        None,
        "JDK for a launched server.",
        raw="",
        check=checks.java_home_path,
        only=LAUNCHED,
        shown="JAVA_HOME, PATH, the usual places",
    )
    heap_mb: int | None = setting(
        None,
        "Java heap of a launched server: '4g', '512m'.",
        name="heap",
        raw="",
        check=checks.heap_mb,
        only=LAUNCHED,
        shown="a quarter of the memory, more on small machines",
    )
    jvm_args: tuple[str, ...] = setting(
        (),
        "More options for the Java virtual machine of a launched server, quoted as in a shell.",
        check=checks.checked_jvm_args,
        only=LAUNCHED,
    )
    port: int = setting(0, "Port of a launched server on 127.0.0.1; 0: any free one.", bounds=(0, 65535), only=LAUNCHED)
    start_timeout_s: float = setting(120.0, "Seconds a server may take until it is ready.", bounds=(1, 3600))
    class_archive: bool = setting(
        True,
        "Start launched servers from an archive of Java's classes, which is made once, some time after the first start, and"
        " kept in the user's cache folder; there also the formulas that were compiled, for the next servers.",
    )
    deephaven_version: str = setting(
        "",
        "Launch servers of this version, '41.11', from an environment that is installed once, in the user's cache folder, for"
        " the interpreter that `python` names.",
        check=checks.deephaven_version,
        only=LAUNCHED,
        shown="what the environment of `python` has",
    )
    deephaven_packages: tuple[str, ...] = setting(
        (),
        "What else is installed there, as pip takes it: 'deephaven-plugin-ui matplotlib>=3.8'.",
        check=checks.requirements,
        only=LAUNCHED,
    )
    standby: int = setting(
        0,
        "How many spare servers wait for this user's next kernels, each with some 700 MB of memory; 0: none.",
        bounds=(0, 8),
    )
    standby_idle_s: float = setting(
        3600.0, "Seconds after which spare servers end when no kernel has been started.", bounds=(1, 30 * 86_400)
    )
    show_tables: bool = setting(True, "Show the tables that a cell assigned at its end.", by_cell=True)
    max_tables: int = setting(
        1000, "How many of them a cell shows at most; a line tells of the rest.", bounds=(0, 10_000), by_cell=True
    )
    rows: int = setting(10, "Rows of a table's preview.", bounds=(1, 10_000), by_cell=True)
    time_zone: str = setting("UTC", "Time zone in which instants show: 'Europe/Berlin'.", check=checks.time_zone)
    columns: int = setting(20, "Columns of a table's preview.", bounds=(1, 10_000), by_cell=True)
    depth: int = setting(1, "Levels of a tree table that are expanded.", bounds=(0, 20), by_cell=True)
    live: bool = setting(True, "Outputs of refreshing tables follow their tables.", by_cell=True)
    live_interval_s: float = setting(
        1.0, "Least seconds between two updates of a live output.", bounds=(0.1, 3600), by_cell=True
    )
    live_time_s: float = setting(
        1800.0,
        "Seconds that an output follows its table; what is shown last stays.",
        bounds=(0, 7 * 86_400),
        by_cell=True,
    )
    live_outputs: int = setting(
        20, "How many outputs follow their tables at a time, the latest ones.", bounds=(0, 1000), by_cell=True
    )
    browser_url: str = setting(
        "",
        "Where a browser reaches the server's own pages, for %dh grid: 'https://dh.example.org', an origin without a path.",
        check=checks.origin,
        shown="http:// or https:// with the server's host and port",
    )
    interrupt_grace_s: float = setting(
        1.0, "Seconds until an interrupted cell that does not stop is abandoned.", bounds=(0, 3600)
    )
    restart: str = setting(
        "automatic",
        "When the server has died, the next cell 'automatic': starts a fresh one; 'ask': asks whether to, or is an error where"
        " nobody can be asked; 'never': is an error, until %dh restart, %dh attach or %dh detach.",
        check=checks.restart,
    )
    private_names: bool = setting(
        False,
        "On an attached server: variables of the kernel's own, which end with it, instead of the server's global ones.",
    )
    session_name: str = setting(
        "",
        "On an attached server: what a later kernel finds this one's session by, should it end without a word.",
        fallback=JUPYTERS_NAME,
        shown="what Jupyter calls it, such as the notebook's path",
    )
    reconnect_time_s: float = setting(
        75.0,
        "Seconds that the kernel tries to resume a broken connection to an attached server, and the server waits for it.",
        bounds=(1, 86_400),
    )
    detached_time_s: float = setting(
        3600.0,
        "Seconds that an attached server goes on with a cell, and keeps its output, when the kernel is gone without a word, or"
        " cannot be reached for longer than that; 0: the cell is interrupted.",
        bounds=(0, 7 * 86_400),
    )
    timings: bool = setting(False, "Tell under the first cell where the time of the start went.")
    debug: bool = setting(False, "Write more to the kernel's log, the messages with their code among it.")
    warnings: tuple[str, ...] = ()
    withheld: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    def for_tables(self) -> dict[str, Any]:
        """How tables show, for the server's end of a session: its `Preferences`, which have the same names."""
        return {name: getattr(self, name) for name in TABLE_SETTINGS}


def _declared() -> Iterator[tuple[str, Declaration]]:
    """The declarations of fields, with the fields' names."""
    for each in fields(Settings):
        declared = each.metadata.get("setting")
        if declared is not None:
            yield each.name, replace(declared, name=declared.name or each.name)


FIELDS: Mapping[str, Declaration] = dict(_declared())
"""The declarations by the field of `Settings` that has the value."""
DECLARATIONS: tuple[Declaration, ...] = (*OF_ENDPOINT, *FIELDS.values())
VARIABLES: Mapping[str, str] = {each.name: each.variable for each in DECLARATIONS}
"""The environment variable of each setting."""
TABLE_SETTINGS = tuple(each.name for each in DECLARATIONS if each.by_cell)
"""What a cell may change by `%dh set`."""


def _configurable() -> type[Configurable]:
    about = "The options as traitlets knows them: raw values with their help texts. `Settings` has the checked ones."
    traits = {each.name: each.trait() for each in DECLARATIONS}
    made: type[Configurable] = type("KernelSettings", (Configurable,), {"__doc__": about, "__module__": __name__, **traits})
    return made


KernelSettings = _configurable()
