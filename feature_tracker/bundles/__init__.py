"""Bundles: which model, SAEs and labels belong together."""
