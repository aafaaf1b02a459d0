"""What a Deephaven type's name tells: a short name, the Frictionless type, its elements' type. Leaf: strings only."""

from __future__ import annotations

import re

_PACKAGES = re.compile(r"(?:\w+\.)+(?=\w)")
_VECTOR = re.compile(r"io\.deephaven\.vector\.(\w+)Vector")
_NUMERIC = ("integer", "number")

_FRICTIONLESS = {
    "byte": "integer",
    "short": "integer",
    "int": "integer",
    "long": "integer",
    "java.math.BigInteger": "integer",
    "float": "number",
    "double": "number",
    "java.math.BigDecimal": "number",
    "boolean": "boolean",
    "java.lang.Boolean": "boolean",
    "java.time.Instant": "datetime",
    "java.time.ZonedDateTime": "datetime",
    "java.time.LocalDateTime": "datetime",
    "java.time.LocalDate": "date",
    "java.time.LocalTime": "time",
    "java.time.Duration": "duration",
    "java.time.Period": "duration",
}


def short_name(type_name: str) -> str:
    """The name without its packages: `java.time.Instant[]` is `Instant[]`."""
    return _PACKAGES.sub("", type_name)


def frictionless_type(type_name: str) -> str:
    """The field type of the Frictionless table schema. Any other Java object comes as its text: `string`."""
    if type_name.endswith("[]") or _VECTOR.fullmatch(type_name):
        return "array"
    return _FRICTIONLESS.get(type_name, "string")


def is_numeric(type_name: str) -> bool:
    """Whether values of this type read best aligned to the right."""
    return frictionless_type(type_name) in _NUMERIC


def element_type(type_name: str, component: str | None) -> str:
    """The type of an array's or vector's elements, "" where nobody knows.

    `component` is the field's `deephaven:componentType`, the only one to know what an `ObjectVector` holds.
    """
    if type_name.endswith("[]"):
        return type_name[:-2]
    vector = _VECTOR.fullmatch(type_name)
    if vector and vector[1] != "Object":
        return vector[1].lower()
    return component or ""
