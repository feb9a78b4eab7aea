"""Leases and the work under them, from the first job to the last capture. Rule: commit, then act."""
