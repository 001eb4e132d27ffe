"""Which features of a language model fire on a financial text, on which words, and how they hang together."""

__version__ = "0.2.0"
