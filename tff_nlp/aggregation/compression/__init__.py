"""Updates that clients send in fewer bytes."""
