"""Training over many rounds: cohorts, evaluation, checkpoints, results and reports."""
