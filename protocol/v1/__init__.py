"""Generated wire code, version 1. Rule: never edited by hand (script/genproto), imported by `wire`, `frames` and gRPC edges."""
