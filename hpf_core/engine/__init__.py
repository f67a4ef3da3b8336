"""A run: its folder, its stages, the one training loop, checkpoints."""
