"""How strongly each feature fires on a few words, in a unit that lets features of all layers be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd

from feature_tracker.feature import Feature
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.apart import trace_apart
from feature_tracker.tracing.rank import ALWAYS_ON
from feature_tracker.tracing.trace import Trace

_LONGEST = 5_000  # tokens of a sentence; a text without full stops must not be refused for being one


class Span(NamedTuple):
    """Words of a text that is read alone.

    Attributes:
        text: the sentence.
        start, end: first and one-past-last character of the words in it; equal for none.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class SpanReader:
    """Reads spans with the features of a bundle.

    The strength of a feature on a span is the square root of its largest activation on the span's tokens, as a share of
    its largest in a corpus.

    Attributes:
        language_model: runs the sentences.
        saes: by layer, ascending.
        window: longest window, BOS included.
        largest: (n_features,) each feature's largest activation; NaN where it isn't known.
        compared: (n_features,) bool, False for features that fire nearly everywhere.
    """

    language_model: LanguageModel
    saes: Mapping[int, Sae]
    window: int
    largest: np.ndarray
    compared: np.ndarray

    @classmethod
    def open(
        cls, language_model: LanguageModel, saes: Mapping[int, Sae], labels: LabelTable, window: int
    ) -> SpanReader:
        """A reader of a bundle's features, scaled by its label table."""
        keys = [(layer, latent) for layer in sorted(saes) for latent in range(saes[layer].n_latents)]
        known = labels.frame.reindex(pd.MultiIndex.from_tuples(keys, names=KEYS))
        largest = known["max_activation"].to_numpy(dtype=float)
        density = known["density"].to_numpy(dtype=float)
        return cls(language_model, saes, window, np.where(largest > 0, largest, np.nan), ~(density > ALWAYS_ON))

    @property
    def is_scaled(self) -> bool:
        """Whether each feature's largest activation is known."""
        return not np.isnan(self.largest).any()

    @property
    def features(self) -> list[Feature]:
        """The features, in the order of their strengths."""
        return [Feature(layer, latent) for layer in sorted(self.saes) for latent in range(self.saes[layer].n_latents)]

    def tokenize(self, text: str) -> TokenizedText:
        """The tokens of a sentence."""
        return tokenize(text, self.language_model.tokenizer, window=self.window, max_tokens=_LONGEST)

    def trace(self, texts: Sequence[str], progress: Progress = silent) -> dict[str, Trace]:
        """The trace of each sentence, read alone; a sentence that occurs twice is read once."""
        distinct = list(dict.fromkeys(texts))
        tokens = [self.tokenize(text) for text in distinct]
        return dict(zip(distinct, trace_apart(tokens, self.language_model, self.saes, progress=progress), strict=True))

    def scaled_by(self, traces: Sequence[Trace]) -> SpanReader:
        """The same reader with a scale for every feature.

        Of features that were not measured it is taken from these traces, and of those that fire in none from the other
        features of their layer.
        """
        met = np.concatenate(
            [
                np.max([trace.layers[layer].largest(trace.counted) for trace in traces], axis=0, initial=0.0)
                for layer in sorted(self.saes)
            ]
        )
        largest = np.where(np.isnan(self.largest), np.where(met > 0, met, np.nan), self.largest)
        start = 0
        for layer in sorted(self.saes):
            part = largest[start : start + self.saes[layer].n_latents]  # a view
            part[np.isnan(part)] = np.nanmedian(part) if np.isfinite(part).any() else 1.0
            start += len(part)
        return replace(self, largest=largest)

    def strengths(self, traces: Mapping[str, Trace], spans: Sequence[Span]) -> np.ndarray:
        """(n_spans, n_features) float32 strengths; 0 on an empty span, and where `compared` is False.

        Args:
            traces: of the spans' texts, see `trace`.
        """
        scale = np.sqrt(self.largest)
        rows = [np.sqrt(_largest_within(traces[span.text], span)) / scale for span in spans]
        return (np.array(rows).reshape(len(spans), -1) * self.compared).astype(np.float32)

    def mean_strengths(self, trace: Trace) -> np.ndarray:
        """(n_features,) float32 mean over a text's counted tokens of the strength on each; 0 where not `compared`."""
        counted = trace.counted
        sums = [
            np.bincount(
                layer.indices[counted].ravel(), np.sqrt(layer.values[counted]).ravel(), minlength=layer.n_latents
            )
            for _, layer in sorted(trace.layers.items())
        ]
        return (np.concatenate(sums) / len(counted) / np.sqrt(self.largest) * self.compared).astype(np.float32)


def _largest_within(trace: Trace, span: Span) -> np.ndarray:
    """(n_features,) each feature's largest activation on the tokens of a span."""
    starts, ends = trace.tokens.offsets.T
    inside = np.flatnonzero((starts < span.end) & (ends > span.start) & (ends > starts))
    positions = np.intersect1d(inside, trace.counted)
    return np.concatenate([trace.layers[layer].largest(positions) for layer in sorted(trace.layers)])
