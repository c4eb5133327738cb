"""What exploration has learned: from impressions and their outcomes in the log."""
