"""The training job: lists without leak, fusion models, artifacts."""
