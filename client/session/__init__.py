"""Buying under one lease, from the first job to the last page of the hold. Rule: commit, then act."""
