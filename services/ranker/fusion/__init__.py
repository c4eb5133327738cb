"""Fusion functions: features in, a score out, contributions that add up to it."""
