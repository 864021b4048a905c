"""What a server can read from the update of a client: an attack, to measure protections."""
