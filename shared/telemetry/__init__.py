"""Structured logs, Prometheus metrics and stage timings: one registry of names for all services."""
