"""Parameters: `-p name=value` and `-f file`, as papermill reads them, and as code.

Refuses to know where the code runs.
"""

from __future__ import annotations

import contextlib
import keyword
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dh_kernel.errors import SettingsError

_WORDS = {"True": True, "False": False, "None": None}
HEADING = "# Parameters"


def parsed(text: str) -> tuple[str, Any]:
    """`name=value`; the value as papermill's `-p` takes it: a number, True, False, None, else a text."""
    name, equals, value = text.partition("=")
    if not equals:
        raise SettingsError(f"-p wants NAME=VALUE, and {name!r} has no =.")
    return checked_name(name), _value(value)


def from_file(path: str) -> dict[str, Any]:
    """The mapping in a YAML file, or in a JSON file, which is YAML as well."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Dates stay text, as with papermill."""

        yaml_implicit_resolvers = {  # noqa: RUF012  # as in the base class
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        found = _plain(yaml.load(Path(path).read_text("utf-8"), Loader))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the parameters in {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    except Exception as error:  # of a value that is not what its tag says the loader raises whatever comes up
        raise SettingsError(f"{path} is not YAML: {(str(error).splitlines() or [type(error).__name__])[0]}.") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds a {type(found).__name__}, not names with values.")
    return {checked_name(str(name)): value for name, value in found.items()}


def checked_name(name: str) -> str:
    """A name that can be assigned to."""
    if not name.isidentifier() or keyword.iskeyword(name):
        raise SettingsError(f"{name!r} is no name for a parameter: it must be one that Python code can assign to.")
    return name


def as_code(parameters: Mapping[str, Any]) -> str:
    """Assignments, one a line."""
    return "".join(f"{name} = {literal(value)}\n" for name, value in parameters.items())


def literal(value: Any) -> str:
    """A Python expression for what YAML and JSON can hold; dates and the like become text, as with papermill."""
    if isinstance(value, bool) or value is None:
        return repr(value)
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, (int, float, str)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(part)}" for key, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(literal, value)) + "]"
    return repr(str(value))


def _plain(value: Any) -> Any:
    """What YAML can hold as what JSON can, since it stands in the executed notebook: dates, bytes and sets become text."""
    if isinstance(value, dict):
        return {key if isinstance(key, (bool, int, float)) else str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def _value(text: str) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    for convert in (int, float):
        with contextlib.suppress(ValueError):
            return convert(text)
    return text
