"""Training: a run, its stages, the one training loop, checkpoints."""
