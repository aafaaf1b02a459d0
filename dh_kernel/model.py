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
class Tls:
    """How to speak TLS with a server, as PEM. `ca_cert` None: whom this machine trusts; `client_cert` None: no certificate."""

    ca_cert: bytes | None = None
    client_cert: bytes | None = None
    client_key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Endpoint:
    """Where a server listens, how to speak to it and how to authenticate there. No secret shows in a repr or an error.

    `tls` None: plaintext. `headers` go with every call. `options` are gRPC's, for the channel:
    `grpc.ssl_target_name_override`.
    """

    host: str
    port: int
    auth_type: str = "Anonymous"
    auth_token: str = field(default="", repr=False)
    tls: Tls | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    options: tuple[tuple[str, int | str], ...] = ()

    @property
    def address(self) -> str:
        """`host:port`, safe to show."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The same, and how it is spoken to where that is not plaintext: `dh+tls://host:port`."""
        return self.address if self.tls is None else f"dh+tls://{self.address}"


@dataclass(frozen=True)
class Column:
    """One column of a Deephaven table. `type` is the name Deephaven gives it: `long`, `java.time.Instant`, `int[]` …"""

    name: str
    type: str


@dataclass(frozen=True)
class TableInfo:
    """What a table is, without its rows.

    `name` is the variable, None for an unnamed table. `rows` is the size when read, None where the server does not know it.
    `kind` is the Deephaven class the user knows: `Table`, `RollupTable`, `PartitionedTable` …; `flavors` what else it is:
    `append-only`, `blink`, `input` … Where `column_count` is more than `columns`, these are the outer ones of them.
    """

    name: str | None
    kind: str
    rows: int | None
    refreshing: bool
    columns: tuple[Column, ...]
    column_count: int | None = None
    flavors: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """How many columns the table has, those that are not in `columns` included."""
        return len(self.columns) if self.column_count is None else self.column_count


@dataclass(frozen=True)
class Excerpt:
    """How the rows of a preview stand for the table's.

    The first `head` of them are its first, the others its last; None: all are its first ones. Texts of more than `characters`
    UTF-16 units come cut to that many, a zero character and their length behind. The columns in `lengths`, by index, hold
    arrays that may be cut; how long they are stands, as text, in one column each behind the table's own. `tree`: two columns
    stand before the table's own, a row's depth and whether it is expanded. `number`: by which the runtime knows the table.
    """

    head: int | None = None
    characters: int | None = None
    lengths: tuple[int, ...] = ()
    tree: bool = False
    number: int | None = None


WHOLE = Excerpt()


@dataclass(frozen=True)
class TablePreview:
    """A table with some of its rows, as one consistent snapshot.

    `data` has the columns of `info`, in order and under the same names, as they came over Arrow Flight, and what `excerpt`
    says; None where the rows could not be read, with the reason in `problem`, or have not been read yet, if `pending`. Types
    that Arrow Flight cannot carry come as strings. `snapshot_ns`: when a ticking table was read, in ns since 1970. `parts` are
    tables that this one is made of, such as the constituents of a partitioned table.
    """

    info: TableInfo
    data: pa.Table | None
    problem: str | None = None
    excerpt: Excerpt = WHOLE
    snapshot_ns: int | None = None
    parts: tuple[TablePreview, ...] = ()
    pending: bool = False


@dataclass(frozen=True)
class Death:
    """How a launched server ended: its exit code, or the signal by number, and the last lines of its log."""

    exit_code: int | None
    signal: int | None
    last_lines: tuple[str, ...]
    out_of_memory: bool = False
