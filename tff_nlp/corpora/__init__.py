"""Texts, labels and who wrote them: readers, names, the embedded corpus."""
