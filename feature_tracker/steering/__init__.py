"""Steering: what a model writes when the direction of a feature is added to its residual stream."""
