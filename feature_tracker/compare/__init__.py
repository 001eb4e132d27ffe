"""Two texts beside each other: which words changed, what kind of change it is, and which features it is seen by."""
