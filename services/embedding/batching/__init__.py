"""Dynamic batching: texts of many callers, merged by length, computed on one thread."""
