"""The tables as SQLAlchemy sees them. Rule: names only; types, CHECKs and triggers are the word of the migration."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, MetaData, String, Table

metadata = MetaData()

book = Table("book", metadata, Column("one", BigInteger, primary_key=True), Column("operator", String))

accounts = Table(
    "accounts",
    metadata,
    Column("did", String, primary_key=True),
    Column("issued", BigInteger),
    Column("available", BigInteger),
    Column("held", BigInteger),
)

holds = Table(
    "holds",
    metadata,
    Column("lease", LargeBinary, primary_key=True),
    Column("payer", String),
    Column("payee", String),
    Column("amount", BigInteger),
    Column("expires_at_ms", BigInteger),
    Column("captured", BigInteger),
    Column("released", BigInteger),
    Column("closed", Boolean),
)

events = Table(
    "events",
    metadata,
    Column("sequence", BigInteger, primary_key=True),
    Column("at_ms", BigInteger),
    Column("kind", BigInteger),
    Column("lease", LargeBinary),
    Column("hash", LargeBinary),
    Column("document", LargeBinary),
)

postings = Table(
    "postings",
    metadata,
    Column("account", String, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("bucket", BigInteger, primary_key=True),
    Column("amount", BigInteger),
)

keys = Table(
    "keys",
    metadata,
    Column("position", BigInteger, primary_key=True),
    Column("lease", LargeBinary),
    Column("key", LargeBinary),
    Column("sequence", BigInteger),
)

outside = Table(
    "outside",
    metadata,
    Column("kind", BigInteger, primary_key=True),
    Column("reference", String, primary_key=True),
    Column("sequence", BigInteger),
)

requests = Table(
    "requests",
    metadata,
    Column("id", LargeBinary, primary_key=True),
    Column("signer", String, primary_key=True),
    Column("document_id", LargeBinary),
    Column("answer", LargeBinary),
    Column("sequence", BigInteger),
    Column("forget_at_ms", BigInteger),
)
