"""What a Deephaven server sends over Arrow becomes what its user meant. Bytes and texts as a 42.7 server gave them."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dh_kernel.render import numerals, temporal
from dh_kernel.render.typenames import element_type, frictionless_type, short_name
from dh_kernel.render.values import Cell, Mark, Reading, decode, read_column

OBJECT_VECTOR = "io.deephaven.vector.ObjectVector"
NANOS = pa.timestamp("ns", "UTC")
# An Arrow stream of one row, one Period column, as a server sent it: pyarrow has no such type to build.
PERIOD_STREAM = (
    "eNp1T1sKwjAQnNSooQYpUsRPT9ADiIfoFQoGrKAtUgrewKN5qzjZxloEBzY72Z19ee/9C0CGgBRrLDCHISOUHuOWr47xgQ9QtJ2wDb1h9VLyGXJGRLHK+Z5o"
    "ZpwDJLTSDfVWclb6B80+9g/aS9VXRVdfXVG6e92ENtyR/Zxrz1Xvbofu0bqg11LDc/yTPo9zLLbxIitzMNOyr8EHKf92vO0Y5yp8keA/zISrn7opwl7BvwEYhh0s"
)


def cells(
    array: pa.Array, type_name: str, *, component: str | None = None, zone: str = "UTC", bound: int = 10_000
) -> list[Cell]:
    return decode(array, Reading(type_name, component, temporal.time_zone(zone), bound))


def texts(array: pa.Array, type_name: str, **options: object) -> list[str]:
    return [cell.text for cell in cells(array, type_name, **options)]  # type: ignore[arg-type]


def jsons(array: pa.Array, type_name: str, **options: object) -> list[object]:
    return [cell.json for cell in cells(array, type_name, **options)]  # type: ignore[arg-type]


def test_integers_beyond_doubles_are_strings_in_json() -> None:
    """A reader with doubles only gets every digit of a long."""
    array = pa.array([None, -(2**63) + 1, 2**63 - 1, 2**53, 2**53 + 1, -(2**53) - 1, 0], pa.int64())
    assert jsons(array, "long") == [
        None,
        "-9223372036854775807",
        "9223372036854775807",
        9007199254740992,
        "9007199254740993",
        "-9007199254740993",
        0,
    ]
    assert texts(array, "long")[:3] == ["null", "-9223372036854775807", "9223372036854775807"]


def test_chars_come_as_uint16() -> None:
    array = pa.array([None, 65, 0xD83D, 0x202E], pa.uint16())
    assert texts(array, "char") == ["null", "A", "\ud83d", "\u202e"]
    assert jsons(array, "char") == [None, "A", "\\ud83d", "\u202e"]
    assert jsons(array, "int") == [None, 65, 0xD83D, 0x202E]


def test_doubles_keep_every_digit_and_the_sign_of_zero() -> None:
    array = pa.array([None, -0.0, 0.1 + 0.2, 5e-324, 1e22, math.nan, math.inf, -math.inf])
    assert texts(array, "double") == ["null", "-0.0", "0.30000000000000004", "5e-324", "1e+22", "NaN", "Infinity", "-Infinity"]
    assert jsons(array, "double")[1:] == [0.0, 0.1 + 0.2, 5e-324, 1e22, "NaN", "Infinity", "-Infinity"]
    assert math.copysign(1, jsons(array, "double")[1]) == -1  # type: ignore[arg-type]


def test_floats_show_no_more_digits_than_they_have() -> None:
    array = pa.array([None, 0.1, 16777216.0, 1e-45, 3.4028234663852886e38, math.nan, -math.inf], pa.float32())
    assert texts(array, "float") == ["null", "0.1", "16777216.0", "1e-45", "3.4028235e+38", "NaN", "-Infinity"]


@settings(deadline=None)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_shortest_float32_is_the_same_float32(value: float) -> None:
    shortest = numerals.shortest_float32(value)
    assert struct.pack("<f", shortest) == struct.pack("<f", value)
    assert len(Decimal(repr(shortest)).normalize().as_tuple().digits) <= 9


def test_booleans_and_strings() -> None:
    assert texts(pa.array([True, False, None]), "java.lang.Boolean") == ["true", "false", "null"]
    read = cells(pa.array(["a", "", None, "null", " x", '"', "é"]), "java.lang.String")
    assert [cell.json for cell in read] == ["a", "", None, "null", " x", '"', "é"]
    assert [cell.unambiguous for cell in read] == ["a", '""', "null", '"null"', '" x"', '"\\""', "é"]
    assert [cell.mark for cell in read[1:4]] == [Mark.STRING, Mark.NULL, Mark.STRING]


def test_a_long_string_is_cut_and_says_its_size() -> None:
    assert texts(pa.array(["é" * 1_000_000]), "java.lang.String", bound=5) == ["ééééé… (2,000,000 bytes)"]
    assert texts(pa.array(["éé😀éé"]), "java.lang.String", bound=5) == ["éé😀éé"]


def test_a_string_that_is_not_utf8_shows_what_it_has() -> None:
    array = pa.array([b"ok", b"a\xff"]).view(pa.string())
    assert texts(array, "java.lang.String") == ["ok", "a\ufffd"]


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"\x03\x00\x00\x00\xcf\xc7", "-12.345"),
        (b"\xf6\xff\xff\xff\x01", "10000000000"),
        (b"#\x00\x00\x00\x85", "-1.23E-33"),
        (b"\x00\x00\x00\x00\x00", "0"),
        (b"\xeb\xff\xff\xff\x01", "1E+21"),
        (b"\x01\x00\x00\x00\x0f\x95\x1a\x9f\xa3\xa2\x86\xc9O\x0evl9", "123456789012345678901234567890.5"),
    ],
)
def test_big_decimals_are_exact(wire: bytes, text: str) -> None:
    assert texts(pa.array([wire, None]), "java.math.BigDecimal") == [text, "null"]
    assert jsons(pa.array([wire, None]), "java.math.BigDecimal") == [text, None]


@settings(deadline=None)
@given(st.integers(), st.integers(-400, 400))
def test_big_decimals_round_trip(unscaled: int, scale: int) -> None:
    raw = scale.to_bytes(4, "little", signed=True) + unscaled.to_bytes(unscaled.bit_length() // 8 + 1, "big", signed=True)
    assert Fraction(numerals.big_decimal(raw)) == unscaled * Fraction(10) ** -scale


def test_big_integers_of_any_length() -> None:
    array = pa.array([b"\xff", b"\x00", b"\x01\x8e\xe9\x0f\xf6\xc3s\xe0\xeeN?\n\xd2", None])
    assert texts(array, "java.math.BigInteger") == ["-1", "0", "123456789012345678901234567890", "null"]
    assert jsons(array, "java.math.BigInteger") == [-1, 0, "123456789012345678901234567890", None]
    digits = texts(pa.array([(10**5000).to_bytes(2100, "big", signed=True)]), "java.math.BigInteger")
    assert digits == ["1" + "0" * 5000]
    assert texts(pa.array([b"\x01" * 20_000]), "java.math.BigInteger") == ["(a number of 20,000 bytes)"]


def test_instants_keep_nanoseconds_before_and_after_1970() -> None:
    array = pa.array([None, -1, 1753000000123456789, -(2**63) + 1], NANOS)
    expected = ["1969-12-31T23:59:59.999999999Z", "2025-07-20T08:26:40.123456789Z", "1677-09-21T00:12:43.145224193Z"]
    assert texts(array, "java.time.Instant") == ["null", *expected]
    assert jsons(array, "java.time.Instant") == [None, *expected]


def test_instants_show_as_many_digits_as_the_column_needs_and_json_all() -> None:
    array = pa.array([0, 1_500_000_000], NANOS)
    assert texts(array, "java.time.Instant") == ["1970-01-01T00:00:00.000Z", "1970-01-01T00:00:01.500Z"]
    assert jsons(array, "java.time.Instant") == ["1970-01-01T00:00:00.000000000Z", "1970-01-01T00:00:01.500000000Z"]
    assert texts(array.slice(0, 1), "java.time.Instant") == ["1970-01-01T00:00:00Z"]


def test_instants_in_a_zone_carry_its_offset_and_json_stays_in_utc() -> None:
    array = pa.array([1753000000123456789, -(2**63) + 1], NANOS)
    shown = ["2025-07-20T04:26:40.123456789-04:00", "1677-09-20T19:16:41.145224193-04:56:02"]
    assert texts(array, "java.time.Instant", zone="America/New_York") == shown
    assert jsons(array, "java.time.Instant", zone="America/New_York")[0] == "2025-07-20T08:26:40.123456789Z"


@pytest.mark.parametrize("name", ["No/Such_Zone", "", "../etc/passwd", "a\0b", "Europe"])
def test_an_unknown_zone_counts_as_utc(name: str) -> None:
    assert texts(pa.array([0], NANOS), "java.time.Instant", zone=name) == ["1970-01-01T00:00:00Z"]


@settings(deadline=None)
@given(st.integers(-(2**63), 2**63 - 1))
def test_instants_agree_with_datetime(nanos: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=nanos // 1000)
    expected = moment.strftime("%Y-%m-%dT%H:%M:%S.%f").zfill(26) + f"{nanos % 1000:03}Z"
    assert temporal.instant_text(nanos, 9, timezone.utc) == expected


def test_local_dates_in_any_year() -> None:
    days = [None, "1969-12-31", "0001-01-01", "9999-12-31"]
    array = pa.array([None, -86_400_000, -62135596800000, 253402214400000], pa.int64()).view(pa.date64())
    assert jsons(array, "java.time.LocalDate") == days
    assert temporal.day_text(-719529) == "-0001-12-31"
    assert temporal.day_text(-719528) == "0000-01-01"
    assert temporal.day_text(2932897) == "+10000-01-01"


def test_local_times_keep_nanoseconds() -> None:
    array = pa.array([None, 7488267590123, 0, 86399999999999], pa.int64()).view(pa.time64("ns"))
    assert texts(array, "java.time.LocalTime") == ["null", "02:04:48.267590123", "00:00:00.000000000", "23:59:59.999999999"]


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (-500_000_000, "PT-0.5S"),
        (49 * 3600 * 10**9 + 1_500_000_000, "PT49H1.5S"),
        (-3600 * 10**9 - 1, "PT-1H-0.000000001S"),
        (0, "PT0S"),
        (90 * 10**9, "PT1M30S"),
        (60 * 10**9, "PT1M"),
    ],
)
def test_durations_as_java_prints_them(nanos: int, text: str) -> None:
    assert jsons(pa.array([nanos, None], pa.duration("ns")), "java.time.Duration") == [text, None]


def test_other_units_are_scaled() -> None:
    assert texts(pa.array([1], pa.timestamp("s", "UTC")), "java.time.Instant") == ["1970-01-01T00:00:01Z"]
    assert texts(pa.array([1], pa.timestamp("ms")), "java.time.LocalDateTime") == ["1970-01-01T00:00:00.001"]
    assert texts(pa.array([1], pa.int32()).view(pa.time32("s")), "java.time.LocalTime") == ["00:00:01"]
    assert texts(pa.array([1], pa.int32()).view(pa.date32()), "java.time.LocalDate") == ["1970-01-02"]


@pytest.mark.parametrize(
    ("array", "type_name", "component", "text", "value"),
    [
        (pa.array([[1, None, -5]], pa.list_(pa.int32())), "int[]", "int", "[1, null, -5]", [1, None, -5]),
        (pa.array([[]], pa.list_(pa.int32())), "int[]", "int", "[]", []),
        (
            pa.array([["a", None, "", "null"]]),
            "java.lang.String[]",
            "java.lang.String",
            '["a", null, "", "null"]',
            ["a", None, "", "null"],
        ),
        (pa.array([[97, None]], pa.list_(pa.uint16())), "io.deephaven.vector.CharVector", "char", '["a", null]', ["a", None]),
        (pa.array([[97, None]], pa.list_(pa.uint16())), "char[]", "char", '["a", null]', ["a", None]),
        (pa.array([[[97], None]], pa.list_(pa.list_(pa.uint16()))), OBJECT_VECTOR, "char[]", '[["a"], null]', [["a"], None]),
        (
            pa.array([[[97]]], pa.list_(pa.list_(pa.uint16()))),
            OBJECT_VECTOR,
            "io.deephaven.vector.CharVector",
            '[["a"]]',
            [["a"]],
        ),
        (
            pa.array([[b"\x03\x00\x00\x00\xcf\xc7", None]]),
            OBJECT_VECTOR,
            "java.math.BigDecimal",
            "[-12.345, null]",
            ["-12.345", None],
        ),
        (
            pa.array([[-1, None]], pa.list_(NANOS)),
            OBJECT_VECTOR,
            "java.time.Instant",
            None,
            ["1969-12-31T23:59:59.999999999Z", None],
        ),
        (pa.array([b"\x01\xfe\x80"]), "byte[]", "byte", "[1, -2, null]", [1, -2, None]),
        (pa.array([[b"\x01", None]]), "byte[][]", "byte[]", "[[1], null]", [[1], None]),
        (pa.array([[2**53 + 1]]), "long[]", "long", "[9007199254740993]", ["9007199254740993"]),
    ],
)
def test_arrays_decode_their_elements(
    array: pa.Array, type_name: str, component: str, text: str | None, value: object
) -> None:
    assert jsons(array, type_name, component=component) == [value]
    if text is not None:
        assert texts(array, type_name, component=component) == [text]


def test_long_arrays_are_cut_and_say_how_much_is_missing() -> None:
    array = pa.array([list(range(20))])
    assert jsons(array, "long[]", bound=60) == [[0, 1, 2, "… 17 more"]]
    assert texts(array, "long[]", bound=60) == ["[0, 1, 2, … 17 more]"]
    assert texts(pa.array([bytes(5)]), "byte[]", bound=40) == ["[0, 0, … 3 more]"]


def test_a_slice_of_a_list_reads_its_own_elements() -> None:
    array = pa.array([[1], [2, 3], [4]]).slice(1, 1)
    assert jsons(array, "long[]") == [[2, 3]]


def test_one_odd_value_does_not_spoil_the_others() -> None:
    read = cells(pa.array([b"\x01", b"\x03\x00\x00\x00\xcf\xc7", None]), "java.math.BigDecimal")
    assert [cell.text for cell in read] == ["01", "-12.345", "null"]


def test_types_without_a_decoder_show_their_text() -> None:
    assert texts(pa.array([{"a": 1}, None]), "some.Object") == ["{'a': 1}", "null"]
    assert texts(pa.array(["x", "x", None]).dictionary_encode(), "java.lang.String") == ["x", "x", "null"]
    assert texts(pa.array([Decimal("1.50")]), "java.math.BigDecimal") == ["1.50"]
    assert texts(pa.nulls(2), "some.Object") == ["null", "null"]


def test_a_column_pyarrow_cannot_make_an_object_of() -> None:
    """A Period column is a month interval, on which pyarrow raises KeyError(21)."""
    table = pa.ipc.open_stream(zlib.decompress(base64.b64decode(PERIOD_STREAM))).read_all()
    read = read_column(table, 0, Reading("java.time.Period", None, timezone.utc, 100))
    assert [cell.mark for cell in read] == [Mark.PROBLEM]
    assert read[0].text == "(cannot be read: KeyError: 21)"


def test_chunks_are_read_as_one_column() -> None:
    table = pa.table({"X": pa.chunked_array([[1, 2], [3]])})
    reading = Reading("long", None, timezone.utc, 100)
    assert [cell.json for cell in read_column(table, 0, reading)] == [1, 2, 3]
    assert read_column(pa.table({"X": pa.chunked_array([], pa.int64())}), 0, reading) == []


def test_type_names() -> None:
    assert short_name("java.time.Instant") == "Instant"
    assert short_name("java.lang.String[][]") == "String[][]"
    assert short_name("java.util.Map<java.lang.String, int>") == "Map<String, int>"
    assert short_name("long") == "long"
    assert [frictionless_type(name) for name in ("long", "float", "char", "byte[]", OBJECT_VECTOR, "java.util.HashMap")] == [
        "integer",
        "number",
        "string",
        "array",
        "array",
        "string",
    ]
    assert element_type("int[][]", "int[]") == "int[]"
    assert element_type("io.deephaven.vector.CharVector", None) == "char"
    assert element_type(OBJECT_VECTOR, None) == ""
