"""The rounds of a simulation over real machines: a coordinator, and silos that hold the texts."""
