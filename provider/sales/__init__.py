"""Own offer, ask policy, and who is let in. Rule: what is offered is what admission accepts, by the same functions."""
