"""Text in bulk: documents, and statistics of where features fire on them."""
