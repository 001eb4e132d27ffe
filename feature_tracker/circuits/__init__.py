"""How features hang together: correlations, lineage across layers, the graph of both."""
