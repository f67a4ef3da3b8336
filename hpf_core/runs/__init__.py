"""A run on disk: its folder, checkpoints, lineage, predictions."""
