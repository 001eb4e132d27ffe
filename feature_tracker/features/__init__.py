"""Inside one feature."""
