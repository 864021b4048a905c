"""Where a round runs: the streaming context, Ray, TFF's own worker; the byte ledger."""
