"""Many lists into one, with what every source says of every item in it."""
