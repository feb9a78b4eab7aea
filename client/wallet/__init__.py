"""What the buyer must not forget, and what it adds up to. Rule: written before it is sent."""
