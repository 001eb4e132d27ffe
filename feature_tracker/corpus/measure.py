"""Measure a bundle's features on the user's own text, or on a harvest of it.

Only sums and quantiles are kept, nothing of the text.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from feature_tracker.corpus.checkpoint import Saved, SumsCheckpoint
from feature_tracker.corpus.documents import windows_of
from feature_tracker.corpus.harvest import Harvest
from feature_tracker.corpus.origin import Origin, fingerprint
from feature_tracker.corpus.statistics import LayerSums
from feature_tracker.errors import TrackerError
from feature_tracker.labels.columns import KEYS, MEASURED
from feature_tracker.labels.table import LabelTable, with_columns
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import Batch, Encoded, Forward, batched, run

log = logging.getLogger(__name__)

Kind = Literal["finance", "general"]

EXPECTED_TEXT = "Name a folder of .txt files, or a .jsonl or .jsonl.gz file."


class Measurement:
    """Sums of every feature's activations on finance text and on general text.

    With a checkpoint, the sums are saved once a minute and a later run continues from them. `discard_checkpoint` ends
    that once the results are safe.

    Args:
        language_model: runs the text.
        saes: by layer; their features are measured.
        window: longest window, BOS included.
        max_tokens: of each kind of text; the rest is left out, and the log says so.
        checkpoint: the file that keeps the sums.
        origin: what else the sums depend on, bundle and texts. A checkpoint of another origin is refused.

    Raises:
        TrackerError: the checkpoint is damaged, or of another origin.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        saes: Mapping[int, Sae],
        *,
        window: int,
        max_tokens: int | None = None,
        checkpoint: Path | None = None,
        origin: Origin | None = None,
    ) -> None:
        self._language_model, self._saes, self._window = language_model, saes, window
        self._max_tokens = max_tokens
        self._sums = {layer: LayerSums(sae.n_latents) for layer, sae in saes.items()}
        self._batches_done: dict[str, int] = {"finance": 0, "general": 0}
        origin = replace(
            origin or Origin(layers=tuple(sorted(saes)), d_model=language_model.d_model),
            dtype=str(language_model.model.dtype),
            saes=fingerprint(saes),
            window=window,
            max_tokens=max_tokens or "all",
        )
        self._checkpoint = SumsCheckpoint(checkpoint, origin, "a measurement")
        saved = self._checkpoint.load()
        if saved is not None:
            self._restore(saved)

    @property
    def n_attention_sinks(self) -> dict[int, int]:
        """Tokens that were left out, by layer."""
        return {layer: sums.n_attention_sinks for layer, sums in sorted(self._sums.items())}

    def measure(self, finance: Iterable[str], general: Iterable[str]) -> dict[int, pd.DataFrame]:
        """Statistics of every latent by layer, over the tokens of both kinds of documents; see `LayerSums.frame`.

        Raises:
            TrackerError: one of the two has no text, or the checkpoint can't be written.
        """
        tokenizer = self._language_model.tokenizer
        cut = partial(windows_of, tokenizer=tokenizer, window=self._window, max_tokens=self._max_tokens)
        return self._measure(cut(finance), cut(general))

    def measure_harvest(self, harvest: Harvest) -> dict[int, pd.DataFrame]:
        """As `measure`, on the windows of a harvest, whose streams are read from disk.

        Raises:
            TrackerError: it has no windows of one of the two, or the checkpoint can't be written.
        """
        token_ids, finance = harvest.token_ids[: harvest.n_done, 1:], harvest.finance[: harvest.n_done]
        return self._measure(token_ids[finance], token_ids[~finance], harvest.forward)

    def _measure(
        self, finance: Iterable[np.ndarray], general: Iterable[np.ndarray], forward: Forward = read_residuals
    ) -> dict[int, pd.DataFrame]:
        self._save()  # finds out now, not after a minute of work, whether the checkpoint can be written
        self._measure_kind("finance", finance, forward)
        self._measure_kind("general", general, forward)
        self._save()
        return {layer: sums.frame() for layer, sums in sorted(self._sums.items())}

    def discard_checkpoint(self) -> None:
        """Remove the checkpoint's file."""
        self._checkpoint.discard()

    def _measure_kind(self, kind: Kind, windows: Iterable[np.ndarray], forward: Forward) -> None:
        language_model, saes = self._language_model, self._saes
        batches = batched(windows, window=self._window, bos_id=language_model.bos_id)

        def add(layer: int, encoded: Encoded, batch: Batch) -> None:
            self._sums[layer].add(encoded, batch.lengths, finance=kind == "finance")

        # The order of batches never changes, so the checkpoint holds the first of them.
        remaining = islice(batches, self._batches_done[kind], None)
        n_tokens = 0
        ran = run(remaining, language_model, sorted(saes), saes=saes, activation_sinks=[add], forward=forward)
        for batch in ran:
            self._batches_done[kind] += 1
            n_tokens += batch.n_tokens
            if self._checkpoint.is_due:
                log.info("%s text: %d tokens in this run", kind, n_tokens)
                self._save()
        if not self._batches_done[kind]:
            raise TrackerError(f"There is no {kind} text. {EXPECTED_TEXT}")
        log.info("%s text: %d tokens in this run, done", kind, n_tokens)

    def _save(self) -> None:
        self._checkpoint.save(
            self._batches_done, {f"layer {layer}": sums.state() for layer, sums in self._sums.items()}
        )

    def _restore(self, saved: Saved) -> None:
        try:
            self._batches_done = {"finance": saved.batches_done["finance"], "general": saved.batches_done["general"]}
            for layer, sums in self._sums.items():
                sums.restore(saved.sums[f"layer {layer}"])
        except KeyError as error:  # an earlier version measured less
            raise self._checkpoint.damaged(error) from None


def fill_table(table: LabelTable | None, measured: Mapping[int, pd.DataFrame], bundle: str) -> LabelTable:
    """A label table with new measures; its labels and scores stay as they were.

    Features without a row get one with the label `unlabelled`, so that their density and percentile are known too.

    Args:
        table: `None` where the bundle has none yet.
        measured: by layer, as `Measurement.measure` gives it.
        bundle: name to write into a table that names no bundle.
    """
    filled = with_columns(table, pd.concat(measured, names=KEYS), bundle)
    if "specialization_source" in filled.frame:
        return LabelTable(filled.frame.assign(specialization_source=MEASURED))
    return filled
