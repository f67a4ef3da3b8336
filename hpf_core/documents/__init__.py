"""YAML documents that people write: values that know their line and column, and errors that show the place."""
