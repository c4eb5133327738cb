"""score: features, then the fusion model."""
