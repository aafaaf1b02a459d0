"""The nouns that cross layers: plain frozen data, no behaviour beyond what derives from their own fields.

Leaf of the package: imports nothing of it, and no front end, server or network library except pyarrow's types.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

PSK_AUTH_TYPE = "io.deephaven.authentication.psk.PskAuthenticationHandler"


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens and how to authenticate there. The token never shows in a repr or an error."""

    host: str
    port: int
    auth_type: str = "Anonymous"
    auth_token: str = field(default="", repr=False)

    @property
    def address(self) -> str:
        """`host:port`, safe to show."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Column:
    """One column of a Deephaven table. `type` is the name Deephaven gives it: `long`, `java.time.Instant`, `int[]` …"""

    name: str
    type: str


@dataclass(frozen=True)
class TableInfo:
    """What a table is, without its rows.

    `name` is the variable, None for an unnamed table. `rows` is the size when read, None where the server does not know it.
    `kind` is the Deephaven class the user knows: `Table`, `HierarchicalTable`, `PartitionedTable` …
    """

    name: str | None
    kind: str
    rows: int | None
    refreshing: bool
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class TablePreview:
    """A table with its first rows, as one consistent snapshot.

    `data` has the columns of `info`, in order and under the same names, as they came over Arrow Flight; None where the rows
    could not be read, with the reason in `problem`. Types that Arrow Flight cannot carry come as strings.
    """

    info: TableInfo
    data: pa.Table | None
    problem: str | None = None


@dataclass(frozen=True)
class Death:
    """How a launched server ended: its exit code, or the signal by number, and the last lines of its log."""

    exit_code: int | None
    signal: int | None
    last_lines: tuple[str, ...]
    out_of_memory: bool = False
