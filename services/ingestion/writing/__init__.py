"""The write path: ids, deduplication outcomes, counters."""
