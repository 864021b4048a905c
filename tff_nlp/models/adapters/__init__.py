"""Adapters: small trainable weights in a network that otherwise stays frozen, one kind a file."""
