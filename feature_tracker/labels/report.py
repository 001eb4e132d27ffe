"""How well a table's labels score, by layer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from feature_tracker.labels.table import ALWAYS_YES_F1, TABLE_ROUNDING, LabelTable

_EDGES = np.array([0.0, ALWAYS_YES_F1 + TABLE_ROUNDING, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0])


READINGS = ("f1", "f1_strong", "f1_uniform", "f1_hard")
"""The scores of a judged label; see `labels.judged`."""


def report_table(table: LabelTable) -> str:
    """A Markdown table with each layer's medians, share of labels that beat guessing, and histogram of F1."""
    readings = [name for name in READINGS if name in table.frame and table.frame[name].notna().any()]
    bins = [f"{low:.2f}-{high:.2f}" for low, high in pairwise(_EDGES[1:])]
    titles = [f"median {name}" for name in readings]
    titles += ["mean f1", "beats guessing", "not scored", "up to 0.667", *bins]
    lines = [f"| layer | {' | '.join(titles)} |", "|---" * (1 + len(titles)) + "|"]
    for layer in [*table.frame.index.unique("layer"), "all"]:
        rows = table.frame.index.get_level_values("layer") == layer if layer != "all" else slice(None)
        frame, reliable = table.frame[rows], table.reliable[rows]
        scored = frame["f1"].dropna().to_numpy(dtype=float)
        # An upper edge belongs to its bin: an F1 of exactly 2/3 is no better than always saying yes.
        counts = np.bincount(np.searchsorted(_EDGES[1:-1], scored, side="left"), minlength=len(_EDGES) - 1)
        cells = [f"{frame[name].median():.3f}" if frame[name].notna().any() else "none" for name in readings]
        cells += [f"{scored.mean():.3f}" if len(scored) else "none", f"{reliable.mean():.1%}"]
        cells += map(str, [len(frame) - len(scored), *counts])
        lines.append(f"| {layer} | {' | '.join(cells)} |")
    return "\n".join(lines)
