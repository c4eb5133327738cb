"""The training job: the log in, one artifact per version out."""
