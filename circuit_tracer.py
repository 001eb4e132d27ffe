"""Circuits without a browser: `python circuit_tracer.py report.txt --effects --out results`, or in a notebook:

from circuit_tracer import Tracker

tracker = Tracker.open("smollm2-135m")
tracker.circuit("Net sales rose 5.4% to $1,234 million.").graph()
"""

from feature_tracker import Feature, Tracker, TrackerError
from feature_tracker.cli.circuit import main

__all__ = ["Feature", "Tracker", "TrackerError", "main"]

if __name__ == "__main__":
    main()
