"""Versions of the models: in memory, in a folder, the current one and the pinned ones."""
