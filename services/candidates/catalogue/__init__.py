"""The items: their rows, whether they may be recommended, what a filter allows."""
