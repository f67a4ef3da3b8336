"""A package whose entry points name what it does not have."""

plugin = None
