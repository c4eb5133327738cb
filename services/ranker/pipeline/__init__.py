"""The stages of an answer, one folder each: hydrate, sources, filter, score, select, record."""
