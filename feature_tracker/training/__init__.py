"""Train SAEs on a corpus, and measure them on held-out text."""
