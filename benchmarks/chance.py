"""`python -m benchmarks.chance`: is the number of features that chance puts high the number that it does?

On held-out passages, counts the features at least so many standard deviations above ordinary text, and divides what
`expected_by_chance` says by that.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
import numpy as np
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.corpus.documents import read_documents
from feature_tracker.errors import TrackerError
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.tracing.distinctive import distinctiveness, expected_by_chance
from feature_tracker.tracing.recording import part_of
from feature_tracker.tracing.run import trace_tokens
from feature_tracker.tracker import Tracker

Z = (1.0, 1.5, 2.0, 2.5, 3.0)


@click.command()
@bundle_options
@click.option("--finance", required=True, type=Path, help="Finance text, whose validation split is read.")
@click.option("--general", required=True, type=Path, help="General text, likewise.")
@click.option("--tokens", default=256, show_default=True, type=click.IntRange(16, 511), help="Length of a passage.")
@click.option("--passages", default=400, show_default=True, type=click.IntRange(min=1), help="Passages of each kind.")
def main(bundle: Bundle, finance: Path, general: Path, tokens: int, passages: int) -> None:
    """Print, for each layer and each z, how many features chance is said to give over how many it gives."""
    tracker = Tracker.open(bundle)
    cut = chain.from_iterable(passages_of(path, tracker, tokens)[:passages] for path in (finance, general))
    seen, expected = count(tracker, cut)
    ratio = {str(layer): np.round(expected[layer] / seen[layer], 2).tolist() for layer in seen}
    total = sum(expected.values()) / sum(seen.values())
    click.echo(json.dumps({"tokens": tokens, "z": Z, "all": np.round(total, 2).tolist(), "by_layer": ratio}))


def passages_of(path: Path, tracker: Tracker, n_tokens: int) -> list[TokenizedText]:
    """One passage out of the middle of each long enough stretch of a corpus' validation documents, shuffled."""
    cut = []
    for document in read_documents(path, "validation"):
        if document.text.strip():
            whole = tokenize(
                document.text,
                tracker.language_model.tokenizer,
                window=n_tokens + 1,
                max_tokens=len(document.text) + 1,
            )
            n_whole = whole.n_tokens // n_tokens
            cut += [part_of(whole, number, 1) for number in range(n_whole)]
    if not cut:
        raise TrackerError(f"No validation document of {path} has {n_tokens} tokens. Name a larger corpus.")
    random.Random(0).shuffle(cut)
    return cut


def count(tracker: Tracker, passages: Iterator[TokenizedText]) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
    """By layer, how many features of all passages are at least as high as each of `Z`, and how many were expected."""
    seen = {layer: np.zeros(len(Z)) for layer in tracker.saes}
    expected = {layer: np.zeros(len(Z)) for layer in tracker.saes}
    for passage in passages:
        trace = trace_tokens(passage, tracker.language_model, tracker.saes)
        for layer, activations in trace.layers.items():
            dense = activations.dense()[trace.counted]
            features = pd.MultiIndex.from_product([[layer], range(activations.n_latents)])
            labels = tracker.labels.frame.reindex(features)
            z = distinctiveness(dense, labels)
            seen[layer] += (z[:, None] >= np.array(Z)).sum(axis=0)
            expected[layer] += expected_by_chance(np.array(Z), labels, len(dense))
    return seen, expected


if __name__ == "__main__":
    main()
