"""Label a bundle's features by their top words, and score these labels on held-out text."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from feature_tracker.corpus.checkpoint import Saved, SumsCheckpoint
from feature_tracker.corpus.origin import Origin, fingerprint
from feature_tracker.corpus.top_words import TopWords, choose_top_words
from feature_tracker.corpus.word_scores import WordScores
from feature_tracker.corpus.word_sums import WordSums
from feature_tracker.corpus.words import WordReader
from feature_tracker.labels.columns import COLUMNS, KEYS
from feature_tracker.labels.table import LabelTable, with_columns
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import Batch, Encoded, Forward, batched, run

log = logging.getLogger(__name__)

_TRAINING = "training text"


class LayerLabels(NamedTuple):
    """The labels of one layer's features.

    Attributes:
        frame: one row a latent, in order: `label`, and the scores of `WordScores.frame`.
        slow: how many are labelled by their passages.
        shown: how many words of all labels occur in the held-out text.
        confirmed: on how many of these the label's feature fires more often than not.
    """

    frame: pd.DataFrame
    slow: int
    shown: int
    confirmed: int


class WordLabels:
    """Labels of top words for every feature of a bundle: first `learn` on training text, then `score` on other text.

    With a checkpoint, what was learnt is saved once a minute and a later run continues from it. `discard_checkpoint`
    ends that once the results are safe.

    Args:
        language_model: runs the text.
        saes: by layer; their features are labelled.
        slow: latents that are labelled by the passages in which they fire, by layer; a layer without any can lack.
        window: longest window, BOS included.
        checkpoint: the file that keeps the sums, and the words of the text.
        origin: what else the sums depend on, bundle and texts. A checkpoint of another origin is refused.

    Raises:
        TrackerError: the checkpoint is damaged, or of another origin or other slow latents.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        saes: Mapping[int, Sae],
        *,
        slow: Mapping[int, Iterable[int]],
        window: int,
        checkpoint: Path | None = None,
        origin: Origin | None = None,
    ) -> None:
        self._language_model, self._saes, self._window = language_model, saes, window
        self._reader = WordReader(language_model.tokenizer)
        self._sums = {
            layer: WordSums(sae.n_latents, np.array(sorted(slow.get(layer, ())), np.int64))
            for layer, sae in sorted(saes.items())
        }
        origin = replace(
            origin or Origin(layers=tuple(sorted(saes)), d_model=language_model.d_model),
            dtype=str(language_model.model.dtype),
            saes=fingerprint(saes),
            window=window,
        )
        self._n_done = 0  # batches of training text
        self._checkpoint = SumsCheckpoint(checkpoint, origin, "top words")
        saved = self._checkpoint.load()
        if saved is not None:
            self._restore(saved)

    def learn(self, windows: Iterable[tuple[int, np.ndarray]], forward: Forward = read_residuals) -> None:
        """Sum up where features fire on training text.

        Args:
            windows: each with the number of its document, from 0: (n_tokens,) int64 token ids, BOS left out.
            forward: how to run the decoder on a batch.

        Raises:
            TrackerError: the checkpoint can't be written.
        """
        self._save()  # finds out now, not after a minute of work, whether the checkpoint can be written
        documents: list[int] = []

        def noted() -> Iterator[np.ndarray]:
            for document, ids in windows:
                documents.append(document)
                yield ids

        # The order of batches never changes, so the checkpoint holds the first of them.
        for batch, encoded in self._encoded(noted(), forward, skip=self._n_done):
            words = self._reader.read(batch, [documents[number] for number in batch.numbers])
            for layer, sums in self._sums.items():
                sums.add(encoded[layer], words)
            self._n_done += 1
            if self._checkpoint.is_due:
                log.info("training text: %d batches", self._n_done)
                self._save()
        self._save()
        log.info("training text: %d batches, %d words; now the held-out text", self._n_done, self._reader.n_words)

    def score(self, windows: Iterable[np.ndarray], forward: Forward = read_residuals) -> dict[int, LayerLabels]:
        """Label every feature of each layer, and score the labels on held-out text.

        Args:
            windows: (n_tokens,) int64 token ids each, of text that was not learnt from. Without any, scores are NaN.
            forward: how to run the decoder on a batch.
        """
        shown, documents = self._reader.shown(), self._reader.documents()
        labels = {layer: choose_top_words(sums, shown, documents) for layer, sums in self._sums.items()}
        scores = {layer: WordScores(chosen, self._reader.n_words) for layer, chosen in labels.items()}
        for batch, encoded in self._encoded(windows, forward):
            words = self._reader.read(batch)
            for layer, layer_scores in scores.items():
                layer_scores.add(encoded[layer], words)
        return {layer: _layer_labels(labels[layer], scores[layer]) for layer in labels}

    def discard_checkpoint(self) -> None:
        """Remove the checkpoint's file."""
        self._checkpoint.discard()

    def _encoded(
        self, windows: Iterable[np.ndarray], forward: Forward, *, skip: int = 0
    ) -> Iterator[tuple[Batch, dict[int, Encoded]]]:
        """Run the windows, and yield each batch with its activations by layer; the first `skip` batches are not run."""
        encoded: dict[int, Encoded] = {}

        def keep(layer: int, part: Encoded, _batch: Batch) -> None:
            encoded[layer] = part

        batches = islice(batched(windows, window=self._window, bos_id=self._language_model.bos_id), skip, None)
        layers = sorted(self._saes)
        for batch in run(
            batches, self._language_model, layers, saes=self._saes, activation_sinks=[keep], forward=forward
        ):
            yield batch, encoded

    def _save(self) -> None:
        layers = {f"layer {layer}": sums.state() for layer, sums in self._sums.items()}
        self._checkpoint.save({_TRAINING: self._n_done}, {"words": self._reader.state()} | layers)

    def _restore(self, saved: Saved) -> None:
        try:
            self._n_done = saved.batches_done[_TRAINING]
            self._reader.restore(saved.sums["words"])
            for layer, sums in self._sums.items():
                state = saved.sums[f"layer {layer}"]
                if not np.array_equal(state["slow"], sums.slow):
                    raise self._checkpoint.of_something_else(f"the table calls other features of layer {layer} slow")
                sums.restore(state)
        except KeyError as error:
            raise self._checkpoint.damaged(error) from None


def _layer_labels(labels: Sequence[TopWords], scores: WordScores) -> LayerLabels:
    frame = scores.frame().assign(label=[top.label for top in labels])
    return LayerLabels(frame, sum(top.slow for top in labels), *scores.words_confirmed)


def with_word_labels(table: LabelTable | None, labels: Mapping[int, LayerLabels], bundle: str) -> LabelTable:
    """A label table with labels of top words and their scores, in place of all that was said of its labels before.

    Args:
        table: `None` where the bundle has none yet.
        labels: by layer, as `WordLabels.score` gives it.
        bundle: name to write into a table that names no bundle.
    """
    if table is not None:
        replaced = [column.name for column in COLUMNS if column.group in ("label", "score")]
        table = LabelTable(table.frame.drop(columns=replaced, errors="ignore"))
    return with_columns(table, pd.concat({layer: part.frame for layer, part in labels.items()}, names=KEYS), bundle)
