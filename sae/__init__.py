"""Top-k sparse autoencoders: files, encoding, training, quality."""
