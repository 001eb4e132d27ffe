"""`python -m feature_tracker` is the command `feature-tracker`."""

from feature_tracker.cli import main

main(prog_name="feature-tracker")
