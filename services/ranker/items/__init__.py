"""What the ranker knows of items: vectors, attributes, counts; live, from the log."""
