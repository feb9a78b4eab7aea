"""Of one picture several deliveries may be made: checkpoints, then the picture. And an attempt may be drained.

SQLite can't change a key or a check: the tables are made anew, and what lies in them moves over.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ATTEMPTS = """
    CREATE TABLE new_attempts (
        id BLOB PRIMARY KEY CHECK (length(id) = 16),
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL CHECK (length(job) = 16),
        document BLOB NOT NULL CHECK (length(document) = 32),
        header BLOB NOT NULL,
        answer BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ({states})),
        upfront INTEGER NOT NULL CHECK (upfront >= 0),
        increment INTEGER NOT NULL CHECK (increment > 0),
        count INTEGER NOT NULL CHECK (count > 0),
        accepted_ms INTEGER NOT NULL,
        deadline_ms INTEGER NOT NULL,
        ended BLOB NOT NULL,
        bodied INTEGER NOT NULL DEFAULT 0 CHECK (bodied IN (0, 1)),
        UNIQUE (lease, job)
    ) STRICT
"""
_STATES = (
    "'accepted', 'queued', 'running', 'delivered', 'paid', 'rejected', 'failed', 'cancelled', 'reclaimed', "
    "'preempted', 'expired'"
)
_DELIVERIES = """
    CREATE TABLE deliveries (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL,
        picture INTEGER NOT NULL CHECK (picture >= 0),
        {step}
        attempt BLOB NOT NULL REFERENCES attempts (id),
        key BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
        hashlock BLOB NOT NULL UNIQUE CHECK (length(hashlock) = 32),
        amount INTEGER NOT NULL CHECK (amount > 0),
        revealed INTEGER NOT NULL CHECK (revealed IN (0, 1)),
        made_ms INTEGER NOT NULL DEFAULT 0,
        -- Large columns come last: SQLite reads a row from its beginning, page by page.
        receipt BLOB NOT NULL,
        leaves BLOB NOT NULL,
        cipher BLOB NOT NULL,
        PRIMARY KEY (lease, job, picture{key})
    ) STRICT
"""
_ATTEMPT = (
    "id, lease, job, document, header, answer, state, upfront, increment, count, accepted_ms, deadline_ms, ended, "
    "bodied"
)
_DELIVERY = "lease, job, picture, attempt, key, hashlock, amount, revealed, made_ms, receipt, leaves, cipher"


def _move(attempts: str, deliveries: str, kept: str) -> None:
    """Whatever refers to attempts steps aside while they move: a table that is referred to can't be dropped."""
    op.execute("CREATE TEMP TABLE moved_bodies AS SELECT * FROM bodies")
    op.execute(f"CREATE TEMP TABLE moved_deliveries AS SELECT {_DELIVERY} FROM deliveries {kept}")
    op.execute("DELETE FROM bodies")
    op.execute("DROP TABLE deliveries")
    op.execute(attempts)
    op.execute(f"INSERT INTO new_attempts ({_ATTEMPT}) SELECT {_ATTEMPT} FROM attempts")
    op.execute("DROP TABLE attempts")
    op.execute("ALTER TABLE new_attempts RENAME TO attempts")
    op.execute(deliveries)
    op.execute(f"INSERT INTO deliveries ({_DELIVERY}) SELECT {_DELIVERY} FROM moved_deliveries")
    op.execute("INSERT INTO bodies SELECT * FROM moved_bodies")
    for table in ("moved_bodies", "moved_deliveries"):
        op.execute(f"DROP TABLE {table}")
    op.execute("CREATE INDEX attempts_by_state ON attempts (state)")
    op.execute("CREATE INDEX attempts_of_lease ON attempts (lease, state, upfront)")
    op.execute("CREATE INDEX deliveries_of_lease ON deliveries (lease, revealed, amount)")


def upgrade() -> None:
    """Move them; every delivery so far is a picture."""
    step = "step INTEGER NOT NULL DEFAULT 0 CHECK (step >= 0),"
    _move(_ATTEMPTS.format(states=_STATES + ", 'drained'"), _DELIVERIES.format(step=step, key=", step"), "")


def downgrade() -> None:
    """Move them back; checkpoints are lost, and what was drained counts as reclaimed."""
    op.execute("UPDATE attempts SET state = 'reclaimed' WHERE state = 'drained'")
    _move(_ATTEMPTS.format(states=_STATES), _DELIVERIES.format(step="", key=""), "WHERE step = 0")
