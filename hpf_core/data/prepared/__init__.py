"""The prepared form of a capture: cropped, memory-mapped, what training reads."""
