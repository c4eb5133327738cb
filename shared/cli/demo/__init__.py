"""`fusionrec demo`: the whole path on MovieLens. The only place that reads the demo's data set."""
