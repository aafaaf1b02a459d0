"""Java's times, from the integers Arrow carries to ISO 8601, without losing a nanosecond. Leaf: integers to strings.

Not through `datetime`, which has microseconds and the years 1 to 9999 only; it lends its calendar and its time zones.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

UTC = timezone.utc
NANOS = 1_000_000_000
_DAY_SECONDS = 86_400
_CYCLE_DAYS = 146_097  # the Gregorian calendar repeats every 400 years
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_zone(name: str) -> tzinfo:
    """The zone of that name, UTC where there is none: times carry their offset, so the text stays true."""
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # not found (a KeyError), a folder, a malformed name
        return UTC


def fraction_digits(nanos: Iterable[int | None]) -> int:
    """How many digits (0, 3, 6 or 9) show all these values, given in nanoseconds, without loss."""
    digits = 0
    for value in nanos:
        while value is not None and value % 10 ** (9 - digits):
            digits += 3
    return digits


def day_text(days: int) -> str:
    """A day since 1970 as Java's LocalDate prints it, in any year: `-0044-03-15`, `+12345-01-01`."""
    cycles, rest = divmod(days, _CYCLE_DAYS)
    day = date.fromordinal(_EPOCH.toordinal() + rest)
    year = day.year + 400 * cycles
    sign = "-" if year < 0 else "+" if year > 9999 else ""
    return f"{sign}{abs(year):04}-{day.month:02}-{day.day:02}"


def time_text(nanos: int, digits: int) -> str:
    """A time of day with that many digits after the second."""
    seconds, fraction = divmod(nanos, NANOS)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    text = f"{hour:02}:{minute:02}:{second:02}"
    return f"{text}.{fraction:09}"[: len(text) + 1 + digits] if digits else text


def date_time_text(nanos: int, digits: int) -> str:
    """A date and time without zone, from nanoseconds since 1970."""
    days, rest = divmod(nanos, _DAY_SECONDS * NANOS)
    return f"{day_text(days)}T{time_text(rest, digits)}"


def instant_text(nanos: int, digits: int, zone: tzinfo) -> str:
    """An instant in that zone with its offset, `Z` for UTC."""
    offset = _offset_seconds(nanos // NANOS, zone)
    return date_time_text(nanos + offset * NANOS, digits) + _offset_text(offset)


def clock_text(nanos: int, zone: tzinfo) -> str:
    """A moment as a clock in that zone shows it: `14:03:07 CET`."""
    return (_EPOCH + timedelta(seconds=nanos // NANOS)).astimezone(zone).strftime("%H:%M:%S %Z")


def _offset_seconds(seconds: int, zone: tzinfo) -> int:
    try:
        offset = (_EPOCH + timedelta(seconds=seconds)).astimezone(zone).utcoffset()
    except OverflowError:  # a year the zone database does not reach
        return 0
    return int(offset.total_seconds()) if offset else 0


def _offset_text(seconds: int) -> str:
    if seconds == 0:
        return "Z"
    sign = "-" if seconds < 0 else "+"
    text = time_text(abs(seconds) * NANOS, 0)
    return sign + text.removesuffix(":00")


def duration_text(nanos: int) -> str:
    """A duration as Java's Duration prints it: `PT49H1.5S`, `PT-0.5S`, each part with its sign."""
    if nanos == 0:
        return "PT0S"
    sign = "-" if nanos < 0 else ""
    total, fraction = divmod(abs(nanos), NANOS)
    hours, rest = divmod(total, 3600)
    minutes, seconds = divmod(rest, 60)
    text = "PT"
    if hours:
        text += f"{sign}{hours}H"
    if minutes:
        text += f"{sign}{minutes}M"
    if seconds or fraction:
        text += f"{sign}{seconds}" + (f".{fraction:09}".rstrip("0") if fraction else "") + "S"
    return text
