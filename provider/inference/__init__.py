"""The core that runs inside a worker. Rule: it speaks frames and nothing else, and nobody imports it."""
