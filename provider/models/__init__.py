"""The models on this provider's disk. Rule: a folder is hostile until checked, and never changes once it is in."""
