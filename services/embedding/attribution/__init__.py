"""Which words make two texts similar."""
