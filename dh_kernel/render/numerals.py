"""Numbers that Arrow does not carry as such, and their exact text. Leaf: bytes and numbers to strings."""

from __future__ import annotations

import math
import struct
from decimal import Decimal

_FLOAT32 = struct.Struct("<f")
_PLAIN_EXPONENT = 21  # from here on 1E+21 reads better than its zeros
MAX_EXACT_INTEGER = 2**53


def integer_json(value: int) -> int | str:
    """The integer, as a string where a reader that has only doubles would round it."""
    return value if abs(value) <= MAX_EXACT_INTEGER else integer_text(value)


def integer_text(value: int) -> str:
    """All digits. Not always `str(int)`, which refuses more than 4,300 of them."""
    return str(value) if abs(value) < 2**64 else str(Decimal(value))


def float_text(value: float) -> str:
    """Python's shortest repr that round-trips; Java's names for what is not a number."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def float_json(value: float) -> float | str:
    """The number, or the name of what JSON has no number for."""
    return value if math.isfinite(value) else float_text(value)


def shortest_float32(value: float) -> float:
    """The double with the fewest digits that is still this float32: 0.1 for 0.10000000149011612."""
    if not math.isfinite(value):
        return value
    for digits in range(1, 9):
        candidate = float(f"{value:.{digits}g}")
        try:
            if _FLOAT32.unpack(_FLOAT32.pack(candidate))[0] == value:
                return candidate
        except OverflowError:  # rounded up past the largest float32
            continue
    return float(f"{value:.9g}")


def big_integer(raw: bytes) -> int:
    """A BigInteger: big-endian two's complement."""
    return int.from_bytes(raw, "big", signed=True)


def big_decimal(raw: bytes) -> str:
    """A BigDecimal: little-endian int32 scale, then the unscaled value in big-endian two's complement.

    The server strips trailing zeros before it sends (`DefaultChunkWriterFactory`, 42.7), so 100 comes as 1E+2: whole
    numbers are written out again up to 21 digits.
    """
    if len(raw) < 5:
        raise ValueError(f"a BigDecimal of {len(raw)} bytes")
    scale = int.from_bytes(raw[:4], "little", signed=True)
    unscaled = Decimal(big_integer(raw[4:]))
    digits = unscaled.as_tuple()
    value = Decimal((digits.sign, digits.digits, -scale))
    if scale < 0 and value.adjusted() < _PLAIN_EXPONENT:
        return f"{value:f}"
    return str(value)
