"""Which variant answers, where an experiment decides."""
