"""One implementation of the ports per engine."""
