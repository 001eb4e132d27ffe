"""Time several ways of doing one thing against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def alternate(runs: Mapping[str, Callable[[], None]], rounds: int, warmups: int = 1) -> dict[str, list[float]]:
    """Seconds of every run, one after the other in each round, so that drift of the machine meets all alike."""
    timed: dict[str, list[float]] = {name: [] for name in runs}
    for counted in [False] * warmups + [True] * rounds:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if counted:
                timed[name].append(time.perf_counter() - start)
    return timed
