"""Inputs that nobody made by hand: whatever they hold, they are read, or refused with a `TrackerError`."""

import os

CASES = int(os.environ.get("FUZZ_CASES", "200"))
"""Cases of each test. `make fuzz` tries 10,000."""
