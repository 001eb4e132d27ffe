"""Trace many short texts, each read alone, in as few forwards as they fit into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import torch

from feature_tracker.model.forward_queue import FORWARDS
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import Batch, Encoded, batched, layer_trace, run
from feature_tracker.tracing.trace import Trace


def trace_apart(
    texts: Sequence[TokenizedText],
    language_model: LanguageModel,
    saes: Mapping[int, Sae],
    *,
    progress: Progress = silent,
) -> list[Trace]:
    """The trace of each text, read without the others; in the order given.

    What a feature makes of a sentence depends on the sentences before it, so that texts which share a sentence can only
    be compared where it is read alone.

    Args:
        texts: all with the same window.

    Raises:
        TrackerError: an activation is not finite.
    """
    by_length = sorted(range(len(texts)), key=lambda number: texts[number].n_tokens)  # pads little
    windows = [(number, ids) for number in by_length for ids in texts[number].windows()]
    parts: dict[int, dict[int, list[Encoded]]] = {number: {layer: [] for layer in sorted(saes)} for number in by_length}

    def keep(layer: int, encoded: Encoded, batch: Batch) -> None:
        ends = accumulate(batch.lengths, initial=0)
        for number, (start, end) in zip(batch.numbers, pairwise(ends), strict=True):
            parts[windows[number][0]][layer].append(Encoded(*(part[start:end] for part in encoded)))

    window = texts[0].window if texts else 2
    batches = list(batched((ids for _, ids in windows), window=window, bos_id=language_model.bos_id))
    with FORWARDS.job("Reading sentence by sentence", len(batches), progress) as job:
        for _ in run(batches, language_model, sorted(saes), saes=saes, activation_sinks=[keep], turn=job.turn):
            pass
    return [_trace(text, parts[number], saes) for number, text in enumerate(texts)]


def _trace(text: TokenizedText, parts: Mapping[int, Sequence[Encoded]], saes: Mapping[int, Sae]) -> Trace:
    layers = {layer: layer_trace(layer, saes[layer], encoded) for layer, encoded in parts.items()}
    sinks = [torch.cat([part.attention_sink for part in encoded]) for encoded in parts.values()]
    return Trace(text, layers, torch.stack(sinks).any(dim=0).numpy())
