"""Answering calls: cache, tokenize, encode."""
