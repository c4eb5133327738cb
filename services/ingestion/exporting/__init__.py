"""The log and the catalogue written out as Parquet, for engines that read batches."""
