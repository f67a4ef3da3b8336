"""YAML documents: values with line and column, and errors that quote the place."""
