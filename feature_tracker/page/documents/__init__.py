"""The page for many documents: an archive, asked."""
