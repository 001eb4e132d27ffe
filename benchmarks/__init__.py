"""What the project costs, as ratios measured in one run; each script's last line is a JSON object of its figures."""
