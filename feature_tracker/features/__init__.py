"""Views inside one feature."""
