"""The node: what an owner runs to sell GPU work. Rule: it never imports the client."""
