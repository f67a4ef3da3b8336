"""`hpf eval`: compares predictions and runs with labels and with published results."""
