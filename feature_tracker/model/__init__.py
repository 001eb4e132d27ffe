"""A causal language model: loading, tokens, residual-stream hooks."""
