"""Is never imported: it raises what Ctrl-C does."""

raise KeyboardInterrupt
