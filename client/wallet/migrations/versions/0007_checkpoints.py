"""Of one picture several deliveries may come: checkpoints, then the picture. And a job may stop, to go on elsewhere.

SQLite can't change a key or a check: the tables are made anew, and what lies in them moves over.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_JOBS = """
    CREATE TABLE new_jobs (
        id BLOB NOT NULL CHECK (length(id) = 16),
        lease BLOB NOT NULL REFERENCES leases (id),
        document BLOB NOT NULL CHECK (length(document) = 32),
        state TEXT NOT NULL CHECK (state IN ({states})),
        header BLOB NOT NULL,
        body BLOB NOT NULL,
        acceptance BLOB NOT NULL,
        upfront INTEGER NOT NULL CHECK (upfront >= 0),
        increment INTEGER NOT NULL CHECK (increment > 0),
        count INTEGER NOT NULL CHECK (count > 0),
        created_ms INTEGER NOT NULL,
        ended BLOB NOT NULL,
        note TEXT NOT NULL,
        prompt TEXT NOT NULL,
        prepaid INTEGER NOT NULL DEFAULT 0 CHECK (prepaid IN (0, 1)),
        PRIMARY KEY (id, lease)
    ) STRICT
"""
_STATES = "'draft', 'placed', 'running', 'delivered', 'paid', 'failed', 'cancelled', 'expired'"
_DELIVERIES = """
    CREATE TABLE new_deliveries (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL,
        picture INTEGER NOT NULL CHECK (picture >= 0),
        {step}
        hashlock BLOB NOT NULL CHECK (length(hashlock) = 32),
        amount INTEGER NOT NULL CHECK (amount > 0),
        locked INTEGER NOT NULL CHECK (locked IN (0, 1)),
        key BLOB NOT NULL,
        -- Large columns come last: SQLite reads a row from its beginning, page by page.
        receipt BLOB NOT NULL,
        cipher BLOB NOT NULL,
        {plain} BLOB NOT NULL,
        PRIMARY KEY (lease, job, picture{key}),
        UNIQUE (lease, hashlock)
    ) STRICT
"""
_VIEW = """
    CREATE VIEW pictures AS
    SELECT lease, job, picture, receipt, amount, locked, length(key) > 0 AS keyed, length({plain}) AS size
    FROM deliveries {only}
"""
_JOB = (
    "id, lease, document, state, header, body, acceptance, upfront, increment, count, created_ms, ended, note, prompt, "
    "prepaid"
)
_DELIVERY = "lease, job, picture, hashlock, amount, locked, key, receipt, cipher"


def _move(states: str, had: str, has: str, step: str, key: str, only: str) -> None:
    op.execute("DROP VIEW pictures")
    op.execute(_JOBS.format(states=states))
    op.execute(f"INSERT INTO new_jobs ({_JOB}) SELECT {_JOB} FROM jobs")
    op.execute(_DELIVERIES.format(step=step, key=key, plain=has))
    op.execute(f"INSERT INTO new_deliveries ({_DELIVERY}, {has}) SELECT {_DELIVERY}, {had} FROM deliveries {only}")
    for table in ("deliveries", "jobs"):
        op.execute(f"DROP TABLE {table}")
        op.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
    op.execute("CREATE INDEX jobs_of_lease ON jobs (lease, state, upfront)")
    op.execute("CREATE INDEX deliveries_of_lease ON deliveries (lease, locked, amount)")


def upgrade() -> None:
    """Move them; every delivery so far is a picture."""
    step = "step INTEGER NOT NULL DEFAULT 0 CHECK (step >= 0),"
    _move(_STATES + ", 'stopped'", "png", "plain", step, ", step", "")
    op.execute(_VIEW.format(plain="plain", only="WHERE step = 0"))


def downgrade() -> None:
    """Move them back; checkpoints are lost, and what was stopped counts as failed."""
    op.execute("UPDATE jobs SET state = 'failed' WHERE state = 'stopped'")
    _move(_STATES, "plain", "png", "", "", "WHERE step = 0")
    op.execute(_VIEW.format(plain="png", only=""))
