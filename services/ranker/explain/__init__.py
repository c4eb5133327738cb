"""Why a result has its score."""
