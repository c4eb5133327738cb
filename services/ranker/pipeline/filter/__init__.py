"""filter: what may be recommended; checked here as well, since fall-backs do not pass candidates."""
