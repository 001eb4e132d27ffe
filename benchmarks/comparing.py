"""`python -m benchmarks.comparing`: does a comparison see what changed, and claim nothing where nothing did?"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise
from pathlib import Path

import click
import numpy as np
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.compare.align import sentences_of
from feature_tracker.compare.texts import Change
from feature_tracker.tracker import Tracker

_MOST_WORDS = 3  # of a replacement on either side, as in the trial that set the bar
_VOTES = ("vote", "vote_for", "vote_against")


@click.command()
@bundle_options
@click.option("--statements", required=True, type=click.Path(exists=True, path_type=Path), help="shared/fomc's CSV.")
def main(bundle: Bundle, statements: Path) -> None:
    """Compare each statement with the one before it; prints one JSON object."""
    tracker = Tracker.open(bundle)
    rows = pd.read_csv(statements)
    rows = rows[~rows["role"].isin(_VOTES)]
    texts = ["\n\n".join(group["text"]) for _, group in rows.groupby("meeting_date", sort=True)]
    click.echo(json.dumps(measure(tracker, texts)))


def measure(tracker: Tracker, texts: Sequence[str]) -> dict[str, object]:
    """Overlap of the features behind replacements, the kinds' AUC, and what is claimed where nothing changed."""
    same, different = overlaps([list(replacements(tracker, *pair)) for pair in pairwise(texts)])
    return {
        "statements": len(texts),
        "same_words_overlap": round(float(np.mean(same)), 3),
        "same_words_pairs": len(same),
        "different_words_overlap": round(float(np.mean(different)), 3),
        "kinds": {
            kind.name: {"auc": round(kind.auc, 3), "examples": kind.n_examples, "offered": kind.is_offered}
            for kind in tracker.kinds_of_change()[1]
        },
        "features_reported_of_identical_texts": sum(reported(tracker, text, text) for text in texts),
        "features_reported_of_shuffled_sentences": sum(reported(tracker, text, shuffled(text)) for text in texts),
    }


def replacements(tracker: Tracker, before: str, after: str) -> Iterator[Change]:
    """The changes in which a few words replace a few others."""
    for change in tracker.compare(before, after).changes:
        if change.edit is not None:
            lengths = [last - first for first, last in (change.edit.before, change.edit.after)]
            if min(lengths) > 0 and max(lengths) <= _MOST_WORDS:
                yield change


def overlaps(by_statement: Sequence[Sequence[Change]]) -> tuple[list[float], list[float]]:
    """The share of features in common behind changes of the same words, and of words without any in common.

    Only changes of different statements are set beside each other. The overlap of a replacement that occurs often
    counts once, as the mean over its pairs.
    """
    changes = [(number, change) for number, part in enumerate(by_statement) for change in part]
    features = [set(zip(c.behind["layer"], c.behind["feature"], strict=True)) for _, c in changes]
    words = [(c.before.casefold(), c.after.casefold()) for _, c in changes]
    same: dict[tuple[str, str], list[float]] = defaultdict(list)
    different = []
    for i, j in combinations(range(len(changes)), 2):
        if changes[i][0] == changes[j][0] or not features[i] or not features[j]:
            continue
        share = len(features[i] & features[j]) / max(len(features[i]), len(features[j]))
        if words[i] == words[j]:
            same[words[i]].append(share)
        elif not set(" ".join(words[i]).split()) & set(" ".join(words[j]).split()):
            different.append(share)
    return [float(np.mean(shares)) for shares in same.values()], different


def reported(tracker: Tracker, before: str, after: str) -> int:
    """Changes and features that a comparison reports."""
    comparison = tracker.compare(before, after)
    return len(comparison.changes) + int(comparison.features["is_certain"].sum())


def shuffled(text: str) -> str:
    """The text's sentences in another order."""
    sentences = [sentence.text for sentence in sentences_of(text)]
    return "\n\n".join(random.Random(0).sample(sentences, len(sentences)))  # some end without a full stop


if __name__ == "__main__":
    main()
