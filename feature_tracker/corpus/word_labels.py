"""Label a bundle's features by their top words."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from feature_tracker.corpus.checkpoint import Saved, SumsCheckpoint
from feature_tracker.corpus.origin import Origin, fingerprint
from feature_tracker.corpus.top_words import TopWords, choose_top_words
from feature_tracker.corpus.word_sums import WordSums
from feature_tracker.corpus.words import WordReader
from feature_tracker.labels.columns import COLUMNS, columns_of
from feature_tracker.labels.table import LabelTable, with_columns
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import Batch, Encoded, Forward, batched, run

log = logging.getLogger(__name__)

_TRAINING = "training text"


class WordLabels:
    """Labels of top words for every feature of a bundle: first `learn` on text, then `choose`.

    With a checkpoint, what was learnt is saved once a minute and a later run continues from it. `discard_checkpoint`
    ends that once the results are safe.

    Args:
        language_model: runs the text.
        saes: by layer; their features are labelled.
        slow: latents that are labelled by the passages in which they fire, by layer; a layer without any can lack.
        window: longest window, BOS included.
        checkpoint: the file that keeps the sums, and the words of the text.
        origin: what else the sums depend on, bundle and texts. A checkpoint of another origin is refused.

    Attributes:
        reader: numbers the words of the text.

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
        self.reader = WordReader(language_model.tokenizer)
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
            words = self.reader.read(batch, [documents[number] for number in batch.numbers])
            for layer, sums in self._sums.items():
                sums.add(encoded[layer], words)
            self._n_done += 1
            if self._checkpoint.is_due:
                log.info("training text: %d batches", self._n_done)
                self._save()
        self._save()
        log.info("training text: %d batches, %d words", self._n_done, self.reader.n_words)

    def choose(self) -> dict[int, list[TopWords]]:
        """The label of every latent of each layer, in order; their words are numbered as those of `reader`."""
        shown, documents = self.reader.shown(), self.reader.documents()
        return {layer: choose_top_words(sums, shown, documents) for layer, sums in self._sums.items()}

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
        self._checkpoint.save({_TRAINING: self._n_done}, {"words": self.reader.state()} | layers)

    def _restore(self, saved: Saved) -> None:
        try:
            self._n_done = saved.batches_done[_TRAINING]
            self.reader.restore(saved.sums["words"])
            for layer, sums in self._sums.items():
                state = saved.sums[f"layer {layer}"]
                if not np.array_equal(state["slow"], sums.slow):
                    raise self._checkpoint.of_something_else(f"the table calls other features of layer {layer} slow")
                sums.restore(state)
        except KeyError as error:
            raise self._checkpoint.damaged(error) from None


def with_top_words(table: LabelTable | None, labels: pd.DataFrame, bundle: str) -> LabelTable:
    """A label table with top words, and their scores, in place of all that was said of labels before.

    Labels that a reader wrote keep their scores: beside them stand the top words alone.

    Args:
        table: `None` where the bundle has none yet.
        labels: `top_words` and its scores, for every feature, indexed by (layer, feature).
        bundle: name to write into a table that names no bundle.
    """
    said = [column.name for column in COLUMNS if column.group in ("label", "score")]
    if table is None or "kind" not in table.frame:
        bare = None if table is None else LabelTable(table.frame.drop(columns=said, errors="ignore"))
        return with_columns(bare, labels.assign(label=labels["top_words"]), bundle)
    standing = table.frame.reindex(labels.index)
    unread = standing["kind"].fillna("") == ""
    said = [name for name in columns_of([*labels.columns, *table.frame.columns]) if name in said]
    new = labels.assign(label=labels["top_words"]).reindex(columns=said)
    old = standing.reindex(columns=said)
    frame = pd.DataFrame({name: new[name].astype(old[name].dtype).where(unread, old[name]) for name in said})
    return with_columns(table, frame.assign(top_words=labels["top_words"]), bundle)
