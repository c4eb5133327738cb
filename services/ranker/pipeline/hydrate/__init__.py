"""hydrate: who asks; history, temperature, text profile."""
