"""The versions of the encoder in memory: the current one, swapped in one step, and those that callers pin."""
