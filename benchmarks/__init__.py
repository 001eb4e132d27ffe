"""What the tracker costs, as ratios measured within one run. The last line each script prints is a JSON object."""
