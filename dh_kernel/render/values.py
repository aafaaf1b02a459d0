"""Arrow columns as a Deephaven server sends them, to cells: the text and the JSON of each value.

What the wire carries is not what the user meant (42.7): char is uint16, BigDecimal and BigInteger are bytes, byte[] too, times
are integers. Arrow's type says how to read, Deephaven's what it is. Knows nothing of layout. Depends on pyarrow, temporal,
numerals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import tzinfo
from enum import Enum, auto
from typing import TypeAlias

import pyarrow as pa

from dh_kernel.render import numerals, temporal
from dh_kernel.render.characters import ELLIPSIS, encodable
from dh_kernel.render.typenames import element_type

COMPONENT_TYPE = b"deephaven:componentType"
_NULL_BYTE = -128
_INSTANTS = ("java.time.Instant", "java.time.ZonedDateTime")
_UNIT_NANOS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_CHARACTERS_AN_ELEMENT = 20
_LEAST_BOUND = 20
_LONGEST_LENGTH = 12
_UNREADABLE = "(cannot be read: "  # the server's words too, see `runtime.carrying`


class Mark(Enum):
    """What a reader must be able to tell apart, whatever the text says."""

    VALUE = auto()
    STRING = auto()
    NULL = auto()
    PROBLEM = auto()


@dataclass(frozen=True)
class Cell:
    """One value: its text, raw (not escaped, not cut to a display width), and what JSON carries for it."""

    text: str
    json: object
    mark: Mark = Mark.VALUE

    @property
    def unambiguous(self) -> str:
        """The text, with strings that could be taken for something else (null, nothing, blanks) in quotes."""
        if self.mark is not Mark.STRING:
            return self.text
        plain = self.text and self.text != NULL.text and self.text == self.text.strip() and not self.text.startswith('"')
        return self.text if plain else _quoted(self.text)


NULL = Cell("null", None, Mark.NULL)


@dataclass(frozen=True)
class Reading:
    """How to read one column: Deephaven's type, its component type, the zone for instants, the most characters a value has.

    `characters` and `lengths`: how the server has cut texts and arrays, see `model.Excerpt`; None: not at all.
    """

    type: str
    component: str | None
    zone: tzinfo
    bound: int
    characters: int | None = None
    lengths: tuple[int | None, ...] | None = None


_Decoder: TypeAlias = Callable[[pa.Array, Reading], list[Cell]]


def read_column(table: pa.Table, index: int, reading: Reading) -> list[Cell]:
    """A column's cells; cells that say why where the column cannot be read at all."""
    try:
        component = (table.schema.field(index).metadata or {}).get(COMPONENT_TYPE)
        column = table.column(index)
        array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks) if column.num_chunks else None
    except Exception as error:  # pyarrow has types it cannot make an object of (KeyError 21, Period's), and says so in any way
        return [_problem(error)] * table.num_rows
    if array is None:
        return []
    return decode(array, replace(reading, component=component.decode("utf-8", "replace") if component else None))


def read_lengths(table: pa.Table, index: int) -> tuple[int | None, ...]:
    """A column of lengths, which come as text."""
    return tuple(None if text is None else int(text) for text in table.column(index).to_pylist())


def decode(array: pa.Array, reading: Reading) -> list[Cell]:
    """All values of an array as cells. A value that cannot be decoded becomes its best text; nothing raises."""
    decoder = _decoder(array.type, reading.type)
    try:
        return decoder(array, reading)
    except Exception:  # a preview is not to fail for one odd value: read one by one, the odd one by its text
        return [_decode_one(array.slice(row, 1), decoder, _of_row(reading, row)) for row in range(len(array))]


def _of_row(reading: Reading, row: int) -> Reading:
    return reading if reading.lengths is None else replace(reading, lengths=(reading.lengths[row],))


def _decode_one(array: pa.Array, decoder: _Decoder, reading: Reading) -> Cell:
    try:
        return decoder(array, reading)[0]
    except Exception:  # as above
        return _best_text(array, reading)


def _best_text(array: pa.Array, reading: Reading) -> Cell:
    try:
        value = array[0].as_py()
        return NULL if value is None else _text(value.hex(" ") if isinstance(value, bytes) else str(value), reading.bound)
    except Exception as error:  # as above
        return _problem(error)


def _problem(error: Exception) -> Cell:
    text = f"{_UNREADABLE}{type(error).__name__}: {error})"
    return Cell(text, encodable(text), Mark.PROBLEM)


def _decoder(arrow: pa.DataType, type_name: str) -> _Decoder:
    if pa.types.is_uint16(arrow) and type_name == "char":
        return _chars
    if _is_binary(arrow) and type_name in _BINARY:
        return _BINARY[type_name]
    return next((decoder for fits, decoder in _BY_ARROW if fits(arrow)), _others)


def _each(values: Iterable[object], cell: Callable[..., Cell]) -> list[Cell]:
    return [NULL if value is None else cell(value) for value in values]


def _raw_integers(array: pa.Array) -> list[int | None]:
    """What a time is on the wire: its integer, all 64 bits of it."""
    integers: list[int | None] = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64()).to_pylist()
    return integers


def _nanos(array: pa.Array) -> list[int | None]:
    factor = _UNIT_NANOS[array.type.unit]
    return [None if value is None else value * factor for value in _raw_integers(array)]


def _integers(array: pa.Array, _: Reading) -> list[Cell]:
    return _each(array.to_pylist(), _integer)


def _integer(value: int) -> Cell:
    return Cell(numerals.integer_text(value), numerals.integer_json(value))


def _float(value: float) -> Cell:
    return Cell(numerals.float_text(value), numerals.float_json(value))


def _doubles(array: pa.Array, _: Reading) -> list[Cell]:
    return _each(array.to_pylist(), _float)


def _floats(array: pa.Array, _: Reading) -> list[Cell]:
    return _each(array.to_pylist(), lambda value: _float(numerals.shortest_float32(value)))


def _booleans(array: pa.Array, _: Reading) -> list[Cell]:
    return _each(array.to_pylist(), lambda value: Cell("true" if value else "false", value))


def _chars(array: pa.Array, _: Reading) -> list[Cell]:
    return _each(array.to_pylist(), lambda value: Cell(chr(value), encodable(chr(value)), Mark.STRING))


def _strings(array: pa.Array, reading: Reading) -> list[Cell]:
    return [_string(scalar, reading) if scalar.is_valid else NULL for scalar in array]


def _string(scalar: pa.Scalar, reading: Reading) -> Cell:
    # From the buffer, not `as_py`: a value may have 100 MB, of which the start is wanted, and may not be UTF-8.
    buffer, bound = scalar.as_buffer(), reading.bound
    cell = _cut_by_server(buffer, reading)
    if cell is None:
        cell = _text(_start(buffer, 4 * (bound + 1)).decode("utf-8", "replace"), bound, buffer.size)
    told = reading.type != "java.lang.String" and cell.text.startswith(_UNREADABLE)
    return replace(cell, mark=Mark.PROBLEM if told else Mark.STRING)


def _cut_by_server(buffer: pa.Buffer, reading: Reading) -> Cell | None:
    """The cell of a text that the server has cut, None for one that is whole."""
    most = reading.characters
    if most is None or buffer.size <= most or buffer.size > 4 * (most + _LONGEST_LENGTH):
        return None
    text = buffer.to_pybytes().decode("utf-8", "replace")
    if len(text.encode("utf-16-le", "replace")) // 2 <= most:
        return None
    start, _, length = text.rpartition("\0")
    return _marked(start[: reading.bound], f"{int(length):,} characters") if length.isdecimal() else None


def _start(buffer: pa.Buffer, size: int) -> bytes:
    return bytes(buffer.slice(0, min(size, buffer.size)).to_pybytes())


def _text(text: str, bound: int, size: int | None = None) -> Cell:
    """A cell of at most about `bound` characters, marked with its full size in bytes where it was longer."""
    if len(text) > bound:
        size = size if size is not None else len(text.encode("utf-8", "replace"))
        return _marked(text[:bound], f"{size:,} bytes")
    return Cell(text, encodable(text))


def _marked(start: str, size: str) -> Cell:
    text = f"{start}{ELLIPSIS} ({size})"
    return Cell(text, encodable(text))


def _big_decimals(array: pa.Array, reading: Reading) -> list[Cell]:
    return _each(array.to_pylist(), lambda raw: _number_text(raw, reading, numerals.big_decimal))


def _big_integers(array: pa.Array, reading: Reading) -> list[Cell]:
    def cell(raw: bytes) -> Cell:
        return _integer(numerals.big_integer(raw)) if len(raw) <= 8 else _number_text(raw, reading, _digits)

    return _each(array.to_pylist(), cell)


def _digits(raw: bytes) -> str:
    return numerals.integer_text(numerals.big_integer(raw))


def _number_text(raw: bytes, reading: Reading, text: Callable[[bytes], str]) -> Cell:
    if len(raw) > reading.bound:  # millions of digits take seconds to write out
        return Cell(f"(a number of {len(raw):,} bytes)", f"(a number of {len(raw):,} bytes)", Mark.PROBLEM)
    return _text(text(raw), reading.bound)


def _byte_arrays(array: pa.Array, reading: Reading) -> list[Cell]:
    lengths = reading.lengths or [None] * len(array)
    return [
        _byte_array(scalar.as_buffer(), reading, length) if scalar.is_valid else NULL
        for scalar, length in zip(array, lengths, strict=True)
    ]


def _byte_array(buffer: pa.Buffer, reading: Reading, length: int | None) -> Cell:
    """A byte[] as the array it is: Java's bytes have a sign, and Deephaven's lowest stands for null."""
    shown = _start(buffer, _most_elements(reading.bound))
    signed = (byte - 256 if byte > 127 else byte for byte in shown)
    return _array([NULL if byte == _NULL_BYTE else _integer(byte) for byte in signed], length or buffer.size)


def _lists(array: pa.Array, reading: Reading) -> list[Cell]:
    lengths = reading.lengths or [None] * len(array)
    return [_list(array[row].values, reading, lengths[row]) if array[row].is_valid else NULL for row in range(len(array))]


def _list(values: pa.Array, reading: Reading, length: int | None) -> Cell:
    shown = values.slice(0, _most_elements(reading.bound))
    bound = max(reading.bound // max(len(shown), 1), _LEAST_BOUND)
    element = Reading(element_type(reading.type, reading.component), None, reading.zone, bound)
    return _array(decode(shown, element), length or len(values))


def _most_elements(bound: int) -> int:
    return max(bound // _CHARACTERS_AN_ELEMENT, 1)


def _array(cells: list[Cell], length: int) -> Cell:
    texts = [_quoted(cell.text) if cell.mark is Mark.STRING else cell.text for cell in cells]
    values = [cell.json for cell in cells]
    if length > len(cells):
        more = f"{ELLIPSIS} {length - len(cells):,} more"
        texts.append(more)
        values.append(more)
    return Cell(f"[{', '.join(texts)}]", values)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _timestamps(array: pa.Array, reading: Reading) -> list[Cell]:
    nanos = _nanos(array)
    digits = temporal.fraction_digits(nanos)
    if array.type.tz is None and reading.type not in _INSTANTS:
        return _each(nanos, lambda n: Cell(temporal.date_time_text(n, digits), temporal.date_time_text(n, 9)))
    return _each(
        nanos,
        lambda n: Cell(temporal.instant_text(n, digits, reading.zone), temporal.instant_text(n, 9, temporal.UTC)),
    )


def _dates(array: pa.Array, _: Reading) -> list[Cell]:
    days_or_ms = _raw_integers(array)
    divisor = 1 if pa.types.is_date32(array.type) else 86_400_000
    texts = (None if value is None else temporal.day_text(value // divisor) for value in days_or_ms)
    return _each(texts, lambda text: Cell(text, text))


def _times(array: pa.Array, _: Reading) -> list[Cell]:
    nanos = _nanos(array)
    digits = temporal.fraction_digits(nanos)
    return _each(nanos, lambda n: Cell(temporal.time_text(n, digits), temporal.time_text(n, 9)))


def _durations(array: pa.Array, _: Reading) -> list[Cell]:
    texts = (None if value is None else temporal.duration_text(value) for value in _nanos(array))
    return _each(texts, lambda text: Cell(text, text))


def _others(array: pa.Array, reading: Reading) -> list[Cell]:
    return [_best_text(array.slice(row, 1), reading) for row in range(len(array))]


def _is_binary(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_binary(arrow) or pa.types.is_large_binary(arrow))


def _is_string(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_string(arrow) or pa.types.is_large_string(arrow))


def _is_list(arrow: pa.DataType) -> bool:
    return bool(pa.types.is_list(arrow) or pa.types.is_large_list(arrow) or pa.types.is_fixed_size_list(arrow))


_BINARY: dict[str, _Decoder] = {"java.math.BigDecimal": _big_decimals, "java.math.BigInteger": _big_integers}
_BY_ARROW: tuple[tuple[Callable[[pa.DataType], bool], _Decoder], ...] = (
    (pa.types.is_integer, _integers),
    (pa.types.is_float32, _floats),
    (pa.types.is_float64, _doubles),
    (pa.types.is_boolean, _booleans),
    (_is_string, _strings),
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_date, _dates),
    (pa.types.is_time, _times),
    (pa.types.is_duration, _durations),
    (_is_list, _lists),
    (_is_binary, _byte_arrays),
)
