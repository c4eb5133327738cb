"""Evaluator: measures what is served, and what callers bring."""
