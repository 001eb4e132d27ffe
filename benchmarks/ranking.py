"""`python -m benchmarks.ranking`: does a ranking tell what a text is about?

If it does, the two halves of a document share their first features, and halves of different documents share few. Under
a ranking that puts the same features first in every text, all halves share many.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.corpus.documents import Document, read_documents
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.tracing.rows import features_of
from feature_tracker.tracing.run import trace_tokens
from feature_tracker.tracker import Tracker

TOP = 10  # features of a layer
_MOST_WINDOWS = 3  # of a half: 1,533 tokens of the built-in bundle


class Agreement(NamedTuple):
    """How many of their first features halves of documents share: means of the share of `TOP` a layer.

    Attributes:
        same_document: the two halves of one document.
        other_same_source: halves of different documents of one source; NaN where no source has two.
        other_source: halves of documents of different sources; NaN where there is one source.
        auc: how often, within a source, a document's own two halves share more than halves of different documents do;
            ties count half. Sources weigh by their number of documents.
    """

    same_document: float
    other_same_source: float
    other_source: float
    auc: float


@click.command()
@bundle_options
@click.option("--finance", required=True, type=Path, help="Finance text, whose validation split is read.")
@click.option("--general", required=True, type=Path, help="General text, likewise.")
@click.option("--documents", type=click.IntRange(min=1), help="Most documents of each source. Default: all.")
def main(bundle: Bundle, finance: Path, general: Path, documents: int | None) -> None:
    """Compare rankings by what halves of documents share; prints one JSON object."""
    tracker = Tracker.open(bundle)
    read = chain.from_iterable(read_documents(path, "validation") for path in (finance, general))
    click.echo(json.dumps(compare_rankings(tracker, read, most=documents)))


def compare_rankings(tracker: Tracker, documents: Iterator[Document], *, most: int | None = None) -> dict[str, object]:
    """The `Agreement` of each ranking, in all and by source.

    Args:
        documents: those whose halves fill no window are left out.
        most: of each source.

    Raises:
        TrackerError: the label table has no measures of passages, or no document is long enough.
    """
    if not tracker.labels.frame.reindex(columns=["window_sd"]).notna().any(axis=None):
        raise TrackerError("This label table was not measured over passages. Run `feature-tracker labels measure`.")
    sources: list[str] = []
    features: dict[str, list[list[set[Feature]]]] = {}
    used: Counter[str] = Counter()
    for document in documents:
        halves = halves_of(document.text, tracker)
        if not halves or used[document.source] == most:
            continue
        used[document.source] += 1
        sources.append(document.source)
        ranked = [first_features(half, tracker) for half in halves]
        for name in ranked[0]:
            features.setdefault(name, []).append([by_name[name] for by_name in ranked])
    if not sources:
        raise TrackerError("No document has two windows. Name text with longer documents.")
    n_chosen = TOP * len(tracker.bundle.layers)
    figures: dict[str, object] = {"documents": dict(used), "window": tracker.bundle.window, "top": n_chosen}
    for name, pairs in features.items():
        share = np.array([[len(first & second) for _, second in pairs] for first, _ in pairs]) / n_chosen
        figures[name] = _rounded(agreement(share, sources)) | {
            "by_source": {
                source: _rounded(agreement(share[np.ix_(here, here)], [source] * len(here)))
                for source in used
                if len(here := [i for i, other in enumerate(sources) if other == source]) > 1
            }
        }
    return figures


def halves_of(text: str, tracker: Tracker) -> list[TokenizedText]:
    """Up to `_MOST_WINDOWS` whole windows before a text's middle token and as many from it on; empty if none fits."""
    window = tracker.bundle.window
    if not text.strip():
        return []
    tokens = tokenize(text, tracker.language_model.tokenizer, window=window, max_tokens=len(text) + 1)
    middle = tokens.n_tokens // 2
    reach = min(_MOST_WINDOWS, middle // (window - 1)) * (window - 1)
    return [_part(tokens, middle - reach, middle), _part(tokens, middle, middle + reach)] if reach else []


def _part(tokens: TokenizedText, start: int, stop: int) -> TokenizedText:
    begin, end = int(tokens.offsets[start, 0]), int(tokens.offsets[stop - 1, 1])
    offsets = tokens.offsets[start:stop] - begin
    return TokenizedText(tokens.text[begin:end], tokens.ids[start:stop], offsets, tokens.window, is_cut=start > 0)


def first_features(tokens: TokenizedText, tracker: Tracker) -> dict[str, set[Feature]]:
    """The first `TOP` features of each layer by each ranking; always-on ones are left out, as on the page."""
    trace = trace_tokens(tokens, tracker.language_model, tracker.saes)
    distinctive = tracker.rank(trace, top=TOP, by="distinctiveness")
    return {
        "distinctiveness": set(features_of(distinctive[distinctive["distinctiveness"] > 0])),
        "rarity": set(features_of(tracker.rank(trace, top=TOP, by="rarity"))),
        "activation": set(features_of(tracker.rank(trace, top=TOP, by="activation"))),
    }


def agreement(share: np.ndarray, sources: Sequence[str]) -> Agreement:
    """Summarize share (n, n), row i column j: what the first half of document i and the second of j have in common."""
    names = np.array(sources)
    same_document = np.eye(len(share), dtype=bool)
    same_source = names[:, None] == names
    aucs, weights = [], []
    for source in np.unique(names):
        here = names == source
        block, own = share[np.ix_(here, here)], np.eye(int(here.sum()), dtype=bool)
        if len(block) > 1:
            above = block[own][:, None] - block[~own]
            aucs.append(float((above > 0).mean() + 0.5 * (above == 0).mean()))
            weights.append(len(block))
    return Agreement(
        float(share[same_document].mean()),
        _mean(share[same_source & ~same_document]),
        _mean(share[~same_source]),
        float(np.average(aucs, weights=weights)) if aucs else float("nan"),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _rounded(figures: Agreement) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else round(value, 3) for name, value in figures._asdict().items()}


if __name__ == "__main__":
    main()
