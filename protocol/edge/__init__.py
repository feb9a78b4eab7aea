"""The impure part of the protocol room. Rule: files, sockets and databases are touched here and nowhere beside."""

import os

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core writes to stderr; what matters reaches us as an error
