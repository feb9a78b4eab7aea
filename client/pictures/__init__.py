"""Pictures on disk and the receipts inside them. Rule: what a picture says of itself is checked, then believed."""
