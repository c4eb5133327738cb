"""The features: one registry, one vectorised computation, used by training and serving alike."""
