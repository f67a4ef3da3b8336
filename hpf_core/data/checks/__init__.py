"""`hpf data check`: checks whether a capture is usable, and reports the faults."""
