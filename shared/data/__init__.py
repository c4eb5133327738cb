"""Domain nouns, limits, validation, preference signals and splits. Pure: no grpc, no generated code."""
