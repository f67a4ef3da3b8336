"""Files: the cache, trained networks, locks between processes, disk space."""
