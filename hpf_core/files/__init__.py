"""Files that are written once and read again: the cache, trained networks, claims between processes, disk space."""
