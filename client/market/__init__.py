"""Who sells what, what it costs, and the lease on it. Rule: nothing here pays; an offer that is not used keeps its reason."""
