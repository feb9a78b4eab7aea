"""The book: accounts, holds, events, postings, keys, payments outside, requests."""

from alembic import op

revision = "0001"
down_revision = None

# `accounts` and the totals in `holds` are folds of `postings`, kept for speed; the audit compares them. What a CHECK
# can't say a trigger does: history is never rewritten, a hold's terms never change, and it closes exactly once.
STATEMENTS = """
CREATE TABLE book (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    operator TEXT NOT NULL
) STRICT;

CREATE TABLE accounts (
    did TEXT PRIMARY KEY,
    issued INTEGER NOT NULL CHECK (issued <= 0),
    available INTEGER NOT NULL CHECK (available >= 0),
    held INTEGER NOT NULL CHECK (held >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE holds (
    lease BLOB PRIMARY KEY CHECK (length(lease) = 32),
    payer TEXT NOT NULL REFERENCES accounts (did),
    payee TEXT NOT NULL,
    amount INTEGER NOT NULL CHECK (amount > 0),
    expires_at_ms INTEGER NOT NULL,
    captured INTEGER NOT NULL CHECK (captured >= 0),
    released INTEGER NOT NULL CHECK (released >= 0),
    closed INTEGER NOT NULL CHECK (closed IN (0, 1)),
    UNIQUE (payer, lease),
    CHECK (payer <> payee),
    CHECK (captured + released <= amount),
    CHECK (CASE closed WHEN 0 THEN released = 0 ELSE captured + released = amount END)
) STRICT, WITHOUT ROWID;
CREATE INDEX holds_by_payee ON holds (payee);
CREATE INDEX holds_due ON holds (expires_at_ms) WHERE closed = 0;

CREATE TABLE events (
    sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
    at_ms INTEGER NOT NULL,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 6),
    lease BLOB REFERENCES holds (lease),
    hash BLOB NOT NULL CHECK (length(hash) = 32),
    document BLOB NOT NULL
) STRICT;
CREATE INDEX events_by_lease ON events (lease) WHERE lease IS NOT NULL;

CREATE TABLE postings (
    account TEXT NOT NULL REFERENCES accounts (did),
    sequence INTEGER NOT NULL REFERENCES events (sequence),
    bucket INTEGER NOT NULL CHECK (bucket BETWEEN 1 AND 3),
    amount INTEGER NOT NULL CHECK (amount <> 0),
    PRIMARY KEY (account, sequence, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    position INTEGER PRIMARY KEY,
    lease BLOB NOT NULL REFERENCES holds (lease),
    key BLOB NOT NULL CHECK (length(key) = 32),
    sequence INTEGER NOT NULL REFERENCES events (sequence),
    UNIQUE (lease, key)
) STRICT;

CREATE TABLE outside (
    kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
    reference TEXT NOT NULL,
    sequence INTEGER NOT NULL REFERENCES events (sequence),
    PRIMARY KEY (kind, reference)
) STRICT, WITHOUT ROWID;

CREATE TABLE requests (
    id BLOB NOT NULL CHECK (length(id) = 16),
    signer TEXT NOT NULL,
    document_id BLOB NOT NULL CHECK (length(document_id) = 32),
    answer BLOB NOT NULL,
    sequence INTEGER REFERENCES events (sequence),
    forget_at_ms INTEGER NOT NULL,
    UNIQUE (id, signer)
) STRICT;
CREATE INDEX requests_to_forget ON requests (forget_at_ms) WHERE sequence IS NULL;
"""

NEVER = {
    "book": ("UPDATE", "DELETE"),
    "events": ("UPDATE", "DELETE"),
    "postings": ("UPDATE", "DELETE"),
    "keys": ("UPDATE", "DELETE"),
    "outside": ("UPDATE", "DELETE"),
    "accounts": ("DELETE",),
    "holds": ("DELETE",),
    "requests": ("UPDATE",),
}

GUARDS = """
CREATE TRIGGER holds_only_forward BEFORE UPDATE ON holds
WHEN old.closed = 1 OR new.captured < old.captured OR new.lease IS NOT old.lease OR new.payer IS NOT old.payer
    OR new.payee IS NOT old.payee OR new.amount <> old.amount OR new.expires_at_ms <> old.expires_at_ms
BEGIN SELECT RAISE(ABORT, 'a hold only moves forward'); END;

CREATE TRIGGER requests_keep_money BEFORE DELETE ON requests WHEN old.sequence IS NOT NULL
BEGIN SELECT RAISE(ABORT, 'a request that moved money is kept for ever'); END;
"""


def upgrade() -> None:
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for table, verbs in NEVER.items():
        for verb in verbs:
            name = f"{table}_no_{verb.lower()}"
            op.execute(f"CREATE TRIGGER {name} BEFORE {verb} ON {table} "
                       f"BEGIN SELECT RAISE(ABORT, '{table} allows no {verb}'); END")  # fmt: skip
    for guard in GUARDS.split("END;\n"):
        if guard.strip():
            op.execute(f"{guard}END")
