"""The `fusionrec` command: one file per command, the helpers they share beside them."""
