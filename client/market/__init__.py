"""Who sells what, what it costs, and the lease on it. Rule: nothing here pays; an unused offer keeps its reason."""
