"""From rows of a file to what ingestion has stored: values, columns, batches, the pipeline, the checkpoint."""
