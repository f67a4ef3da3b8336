"""The prepared form of a capture for training: cropped and memory-mapped."""
