"""What buyer and seller must agree on. Rule: everything here but `edge` is pure (no I/O, no clock, no randomness)."""
