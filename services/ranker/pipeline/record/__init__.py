"""record: impressions to ingestion, after the reply, from a bounded queue."""
