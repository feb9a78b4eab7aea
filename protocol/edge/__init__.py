"""The impure part of the protocol room. Rule: files, sockets and databases are touched here and nowhere beside."""
