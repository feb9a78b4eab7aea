"""Whether what was bought is what was done. Rule: a verdict goes with all from which anyone comes to it again."""
