"""Labels: what each feature means, how well that is known, and how financial the feature is."""
