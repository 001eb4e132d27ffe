"""Time several ways of doing the same thing against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def alternate(runs: Mapping[str, Callable[[], None]], rounds: int, warmups: int = 1) -> dict[str, list[float]]:
    """Seconds of every run by round; all runs take turns in each round, so that the machine's drift affects all alike.

    Args:
        warmups: rounds before those that are timed.
    """
    timed: dict[str, list[float]] = {name: [] for name in runs}
    for is_timed in [False] * warmups + [True] * rounds:
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if is_timed:
                timed[name].append(time.perf_counter() - start)
    return timed
