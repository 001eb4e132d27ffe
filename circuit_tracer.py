"""The circuit of a text from the command line: `python circuit_tracer.py report.txt --effects --out results`."""

from feature_tracker.cli.circuit import main

if __name__ == "__main__":
    main()
