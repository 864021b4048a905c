"""How client updates become one: mean, compressed, robust, secure."""
