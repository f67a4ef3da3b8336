"""Rigid maps, rotations, rigid alignment, the distance transform. Units and axes: see `docs/geometry.md`."""
