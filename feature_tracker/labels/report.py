"""How well a table's labels score, by layer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from feature_tracker.labels.table import ALWAYS_YES_F1, TABLE_ROUNDING, LabelTable

_EDGES = np.array([0.0, ALWAYS_YES_F1 + TABLE_ROUNDING, 0.7, 0.75, 0.8, 0.85, 0.9, 1.0])


def report_table(table: LabelTable) -> str:
    """A Markdown table with each layer's median F1, share of labels that beat guessing, and histogram of F1."""
    bins = [f"{low:.2f}-{high:.2f}" for low, high in pairwise(_EDGES[1:])]
    lines = [
        f"| layer | median F1 | beats guessing | not scored | up to 0.667 | {' | '.join(bins)} |",
        "|---" * (5 + len(bins)) + "|",
    ]
    f1_of, reliable_of = table.frame["f1"], table.reliable
    for layer in [*table.frame.index.unique("layer"), "all"]:
        f1 = (f1_of if layer == "all" else f1_of.loc[layer]).to_numpy()
        share = (reliable_of if layer == "all" else reliable_of.loc[layer]).mean()
        scored = f1[~np.isnan(f1)]
        # An upper edge belongs to its bin: an F1 of exactly 2/3 is no better than always saying yes.
        counts = np.bincount(np.searchsorted(_EDGES[1:-1], scored, side="left"), minlength=len(_EDGES) - 1)
        median = f"{np.median(scored):.3f}" if len(scored) else "none"
        lines.append(f"| {layer} | {median} | {share:.1%} | {len(f1) - len(scored)} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines)
