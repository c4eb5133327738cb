"""Candidates: a user (or a history) in, some hundreds of items out, each with its evidence."""
