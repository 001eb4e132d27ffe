"""How the features of a text are linked: correlation, attribution, ablation, and the circuit that they make up."""
