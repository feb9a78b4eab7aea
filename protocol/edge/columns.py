"""The columns that stores of rows are made of. Rule: none is ever NULL; empty bytes or text mean not yet."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, Text


def blob(name: str, *, key: bool = False) -> Column[bytes]:
    """Bytes: ids, keys, documents verbatim."""
    return Column(name, LargeBinary, primary_key=key, nullable=False)


def number(name: str, *, key: bool = False) -> Column[int]:
    """A whole number of up to 64 bits: amounts, counts, milliseconds."""
    return Column(name, BigInteger, primary_key=key, nullable=False)


def words(name: str, *, key: bool = False) -> Column[str]:
    """Text: states, dids, notes for people."""
    return Column(name, Text, primary_key=key, nullable=False)


def truth(name: str) -> Column[bool]:
    """Yes or no."""
    return Column(name, Boolean, nullable=False)
