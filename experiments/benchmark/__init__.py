"""What scripts/benchmark_rounds measures, and how."""
