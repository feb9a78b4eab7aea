"""Who is known to this node. Rule: a directory is believed in nothing, so it keeps only what proves itself."""
