"""`hpf eval`: predictions and runs compared with labels and with published results."""
