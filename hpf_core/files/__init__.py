"""Files that are written once and read again: the cache, trained networks, locks between processes, disk space."""
