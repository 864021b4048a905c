"""Names of the tasks."""

CLASSIFICATION, PAIRS, LANGUAGE_MODEL = TASKS = ("classification", "pairs", "language_model")
