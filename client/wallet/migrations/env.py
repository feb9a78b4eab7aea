"""Alembic's entry. Rule: the connection comes from `edge.sqlite`, inside its transaction; there is no other way in."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], render_as_batch=True, transactional_ddl=True)
context.run_migrations()
