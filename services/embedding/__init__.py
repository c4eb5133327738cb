"""Embedding: text in, vectors out. BERT inference on TensorFlow."""
