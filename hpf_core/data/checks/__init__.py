"""`hpf data check`: whether a capture can be used, and why not."""
