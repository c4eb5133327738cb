"""Vector spaces and their indexes."""
