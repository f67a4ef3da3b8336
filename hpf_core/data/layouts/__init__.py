"""Layouts of frames on disk: one module for each layout."""
