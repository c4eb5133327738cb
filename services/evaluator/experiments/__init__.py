"""Experiments: which variant a user is in."""
