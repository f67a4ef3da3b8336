"""How frames lie on disk: one module for each layout."""
