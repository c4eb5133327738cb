"""Events and catalogue in, durable and replayable; user history out."""
