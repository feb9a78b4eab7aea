"""The buyer's side. Rule: it never imports the provider; what both need lies in `gpufair.protocol`."""
