"""Report an import: what was read, cleaned and rejected, which labels were taken, and how many can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from feature_tracker.labels.importers.imported import Evidence
from feature_tracker.labels.importers.merge import Merged
from feature_tracker.labels.importers.target import Target
from feature_tracker.labels.scores import GOOD, MARKS


def import_report(merged: Merged, target: Target, left_out: Sequence[Path]) -> str:
    """The report as text for a terminal.

    Args:
        left_out: files that are in no format of labels.
    """
    parts = [_files(merged), _rejections(merged), _notes(merged, left_out), _preference(merged), _marks(merged, target)]
    return "\n\n".join(part for part in parts if part)


def _files(merged: Merged) -> str:
    lines = ["| file | format | read | cleaned | rejected | labels used |", "|---|---|---|---|---|---|"]
    for tally in merged.tallies:
        lines.append(
            f"| {tally.name} | {tally.kind} | {tally.read:,} | {tally.cleaned:,} | {tally.rejected.total():,} | "
            f"{tally.used:,} |"
        )
    read, cleaned, used = (sum(getattr(t, name) for t in merged.tallies) for name in ("read", "cleaned", "used"))
    rejected = sum(tally.rejected.total() for tally in merged.tallies)
    return "\n".join([*lines, f"| all | | {read:,} | {cleaned:,} | {rejected:,} | {used:,} |"])


def _rejections(merged: Merged) -> str:
    lines = []
    for tally in merged.tallies:
        for reason, n in tally.rejected.items():
            shown = tally.examples[reason]
            lines.append(f"Rejected, {reason}: {n:,}")
            lines += [f"  {example}" for example in shown]
            if n > len(shown):
                lines.append(f"  and {n - len(shown):,} more in {tally.name}")
    return "\n".join(lines)


def _notes(merged: Merged, left_out: Sequence[Path]) -> str:
    lines = [f"{tally.name}: {note}." for tally in merged.tallies for note in tally.notes]
    lines += [
        f"{t.name}: {t.left_out:,} of layers that are not chosen were left out." for t in merged.tallies if t.left_out
    ]
    unanswered = merged.table.frame["n_unanswered"].fillna(0)
    if unanswered.sum():
        lines.append(
            f"The judge gave no answer to {int(unanswered.sum()):,} questions about {int((unanswered > 0).sum()):,} "
            "features; they were counted and enter no score."
        )
    if left_out:
        lines.append(f"Left out, in no format of labels: {', '.join(str(path) for path in left_out)}.")
    return "\n".join(lines)


def _preference(merged: Merged) -> str:
    lines = [
        f"{merged.n_in_several_files:,} features have a label in more than one file. Of a feature's labels the first "
        "of these is taken, of equals the one whose file stands first above:"
    ]
    lines += [f"  {evidence.value}: {merged.by_evidence[evidence]:,}" for evidence in Evidence]
    return "\n".join(lines)


def _marks(merged: Merged, target: Target) -> str:
    frame, counts = merged.table.frame, merged.table.frame["mark"].value_counts()
    n_features = sum(target.n_latents.values())
    lines = [f"{len(frame):,} of {n_features:,} features of bundle {target.bundle} have a label."]
    for mark, meaning in MARKS.items():
        if n := int(counts.get(mark, 0)):
            lines.append(f"  {n:,} {'reliable' if mark == GOOD else f'marked “{mark}”'}: {meaning}")
    return "\n".join(lines)
