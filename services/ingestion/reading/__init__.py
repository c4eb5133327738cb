"""The read path of the log: cursors, replay, following."""
