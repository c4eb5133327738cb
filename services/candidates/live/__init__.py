"""What keeps the current version up with the log between two trainings."""
