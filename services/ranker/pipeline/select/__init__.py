"""select: diversity, exploration, places for new items, top-k."""
