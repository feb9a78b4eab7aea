"""From config.toml to the owner's decisions. Rule: read once, checked whole; an unknown key is an error."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider.config.checks import check, said, wrong
from gpufair.provider.config.sections import Config

T = TypeVar("T")

FILE_MAX = 256 * limits.KIB
_KINDS: dict[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


def load(path: Path) -> Config:
    """Read a node's configuration. Raises LocalError that names the key, what is wrong, and what would be right."""
    try:
        data = tomllib.loads(_read(path))
    except FileNotFoundError as error:
        raise LocalError(Fault.UNKNOWN, f"there is no {path}", hint="run `gpufaird init` first") from error
    except (OSError, ValueError, RecursionError) as error:
        # ValueError: not TOML, not UTF-8, or a number with thousands of digits.
        hint = "write it as TOML; `gpufaird init --home ELSEWHERE` makes one to compare with"
        raise LocalError(Fault.MALFORMED, f"{path} can't be read: {str(error)[:200]}", hint=hint) from error
    config = _section(Config, data, str(path))
    check(config, str(path))
    return config


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(FILE_MAX + 1)
    if len(data) > FILE_MAX:
        raise LocalError(Fault.TOO_LARGE, f"{path} has more than {FILE_MAX} bytes", hint="is it the right file?")
    return data.decode("utf-8")


def _section(kind: type[T], data: dict[str, Any], where: str) -> T:
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(known))
    if unknown:
        shown = [name for name, one in known.items() if not one.metadata.get("ours")]
        raise wrong(where, unknown[0], f"is not a key here: there are {', '.join(shown)}")
    values: dict[str, Any] = {}
    for name, spec in known.items():
        if name not in data:
            if spec.default is MISSING and spec.default_factory is MISSING:
                raise wrong(where, name, "is missing")
            continue
        values[name] = _value(hints[name], data[name], where, name)
    return kind(**values)


def _value(hint: Any, value: Any, where: str, name: str) -> Any:
    if isinstance(value, dict) and isinstance(hint, type):
        return _section(hint, value, f"{where} [{name}]")
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise wrong(where, name, "must be a list of texts")
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise wrong(where, name, f"must be {_KINDS.get(hint, 'a [section]')}, not {said(value)}")
    if hint is int and not 0 <= value <= limits.AMOUNT_MAX:
        raise wrong(where, name, f"is {said(value)}: it must be 0 to {limits.AMOUNT_MAX}")
    if isinstance(value, str) and not (value.isprintable() and len(value) <= limits.TEXT_MAX):
        raise wrong(where, name, f"must be one line of at most {limits.TEXT_MAX} characters")
    return value
