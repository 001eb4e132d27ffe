"""`python -m benchmarks.startup`: how long a fresh interpreter takes to import the package and to print its version."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import click

HEAVY_MODULES = ("torch", "transformers", "streamlit", "pandas", "plotly")
"""Libraries that take a second or more to import; `import feature_tracker` should load none of them."""

_ROOT = Path(__file__).resolve().parent.parent
_TIMED_IMPORT = """
import importlib, json, sys, time
start = time.perf_counter()
importlib.import_module(sys.argv[1])
seconds = time.perf_counter() - start
print(json.dumps([seconds, sorted(set(sys.argv[2:]) & sys.modules.keys())]))
"""


class ImportCost(NamedTuple):
    """What importing a module costs.

    Attributes:
        seconds: median over fresh interpreters, without the interpreter's own start.
        heavy: those of `HEAVY_MODULES` that were loaded.
    """

    seconds: float
    heavy: list[str]


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Fresh interpreters that are timed for each figure.")
def main(rounds: int) -> None:
    """Time `import feature_tracker` and `feature-tracker --version`; prints one JSON object."""
    package = import_cost("feature_tracker", rounds)
    figures = {
        "rounds": rounds,
        "import_s": round(package.seconds, 3),
        "heavy_modules": package.heavy,
        "version_s": round(version_seconds(rounds), 3),
    }
    click.echo(json.dumps(figures))


def import_cost(module: str, rounds: int) -> ImportCost:
    """Import a module in `rounds` fresh interpreters."""
    command = [sys.executable, "-c", _TIMED_IMPORT, module, *HEAVY_MODULES]
    outputs = [json.loads(subprocess.check_output(command, cwd=_ROOT)) for _ in range(rounds)]
    return ImportCost(
        statistics.median(seconds for seconds, _ in outputs), sorted(set().union(*(m for _, m in outputs)))
    )


def version_seconds(rounds: int) -> float:
    """Median seconds of `feature-tracker --version`, from the start of its process to its end."""
    command = [sys.executable, "-m", "feature_tracker", "--version"]
    timed = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, cwd=_ROOT, stdout=subprocess.DEVNULL, check=True)
        timed.append(time.perf_counter() - start)
    return statistics.median(timed)


if __name__ == "__main__":
    main()
