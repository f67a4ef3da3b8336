"""Rigid maps, rotations, rigid alignment, the distance transform. Units and axes: `docs/geometry.md`."""
