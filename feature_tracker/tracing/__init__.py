"""Traces: which features fire on which tokens; running, recording and ranking them."""
