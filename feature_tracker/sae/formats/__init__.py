"""SAE files: sparsify's and SAELens's formats, read right or refused."""
