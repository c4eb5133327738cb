"""Candidate sources: each knows one reason to recommend an item."""
