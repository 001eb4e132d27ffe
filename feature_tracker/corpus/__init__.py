"""Text in bulk: documents, their residual streams on disk, and statistics of where features fire on them."""
