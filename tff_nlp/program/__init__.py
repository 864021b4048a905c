"""Many rounds: cohorts, evaluation, checkpoints, results, report."""
