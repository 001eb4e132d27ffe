"""Traces: which features fire on which tokens, aggregated, ranked, compared."""
