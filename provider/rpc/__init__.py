"""Every gRPC edge of the node. Rule: decode, call an office, encode, map errors; no logic lives here."""
