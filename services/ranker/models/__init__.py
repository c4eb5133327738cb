"""Loaded models: one version with everything that it needs, and the versions in memory."""
