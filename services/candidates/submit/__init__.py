"""Programs that are started by file, not by module. The folder of such a file hides packages, so they are apart."""
