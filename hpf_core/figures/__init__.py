"""Figures, each drawn in one place."""
