"""Vectors of texts seen before."""
