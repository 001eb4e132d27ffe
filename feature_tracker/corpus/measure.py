"""Measure a bundle's features on text of the user's own: nothing of the text is kept but sums and quantiles."""

from __future__ import annotations

import json
import logging
import time
import zipfile
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from feature_tracker.corpus.documents import windows_of
from feature_tracker.corpus.statistics import LayerSums
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.labels.columns import KEYS, MEASURED, REQUIRED, columns_of
from feature_tracker.labels.table import LabelTable, fill_blanks
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.run import Batch, batched, run

log = logging.getLogger(__name__)

_CHECKPOINT_SECONDS = 60.0
EXPECTED_TEXT = "Name a folder of .txt files, or a .jsonl or .jsonl.gz file."


class Measurement:
    """Sums over two kinds of documents, finance and general, which can be saved and resumed between batches.

    Args:
        language_model: runs the text.
        saes: by layer, whose features are measured.
        window: longest window, BOS included.
        max_tokens: of each kind of text; the rest is left out, and the log says so.
        checkpoint: file that keeps the sums of an interrupted run; removed at the end.
        origin: what is measured. A checkpoint of another origin is refused.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        saes: Mapping[int, Sae],
        *,
        window: int,
        max_tokens: int | None = None,
        checkpoint: Path | None = None,
        origin: str = "",
    ) -> None:
        self._language_model, self._saes, self._window = language_model, saes, window
        self._max_tokens = max_tokens
        self._checkpoint = checkpoint
        self._origin = origin
        self._sums = {layer: LayerSums(sae.n_latents) for layer, sae in saes.items()}
        self._batches = {"finance": 0, "general": 0}
        if checkpoint is not None and checkpoint.exists():
            self._restore(checkpoint)

    def measure(self, finance: Iterable[str], general: Iterable[str]) -> dict[int, pd.DataFrame]:
        """Statistics of every latent by layer, over all tokens of both kinds of documents; see `LayerSums.frame`.

        Raises:
            TrackerError: one of the two has no text, or the checkpoint can't be written.
        """
        for kind, texts in (("finance", finance), ("general", general)):
            self._measure_kind(kind, texts)
        if self._checkpoint is not None:
            self._checkpoint.unlink(missing_ok=True)
        return {layer: sums.frame() for layer, sums in sorted(self._sums.items())}

    def _measure_kind(self, kind: str, texts: Iterable[str]) -> None:
        language_model, saes = self._language_model, self._saes
        windows = windows_of(texts, language_model.tokenizer, window=self._window, max_tokens=self._max_tokens)
        batches = batched(windows, window=self._window, bos_id=language_model.bos_id)

        def add(layer: int, top: TopK, _batch: Batch) -> None:
            self._sums[layer].add(top.values.numpy(), top.indices.numpy(), finance=kind == "finance")

        # Batches come in the same order every time, so the first of them are those that the checkpoint holds.
        remaining = islice(batches, self._batches[kind], None)
        saved, n_tokens = time.monotonic(), 0
        for batch in run(remaining, language_model, sorted(saes), saes=saes, activation_sinks=[add]):
            self._batches[kind] += 1
            n_tokens += batch.n_tokens
            if time.monotonic() - saved > _CHECKPOINT_SECONDS:
                saved = time.monotonic()
                log.info("%s text: %d tokens", kind, n_tokens)
                self._save()
        if not self._batches[kind]:
            raise TrackerError(f"There is no {kind} text. {EXPECTED_TEXT}")
        log.info("%s text: %d tokens, done", kind, n_tokens)

    def _save(self) -> None:
        if self._checkpoint is None:
            return
        arrays = {
            f"{layer}.{name}": array for layer, sums in self._sums.items() for name, array in sums.state().items()
        }
        arrays["progress"] = np.array(json.dumps({"origin": self._origin, "batches": self._batches}))
        with replacing(self._checkpoint) as beside, beside.open("wb") as file:
            np.savez(file, **arrays)

    def _restore(self, checkpoint: Path) -> None:
        try:
            with checkpoint.open("rb") as file, np.load(file) as arrays:
                progress = json.loads(str(arrays["progress"]))
                state = {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise TrackerError(
                f"{checkpoint} is no checkpoint of a measurement ({error}). Name another file."
            ) from None
        if progress["origin"] != self._origin:
            raise TrackerError(
                f"{checkpoint} holds a measurement of something else: expected {self._origin}, found "
                f"{progress['origin']}. Give the options it was begun with, name another file, or delete this one."
            )
        self._batches = progress["batches"]
        for layer, sums in self._sums.items():
            prefix = f"{layer}."
            sums.restore({name.removeprefix(prefix): a for name, a in state.items() if name.startswith(prefix)})


def fill_table(table: LabelTable | None, measured: Mapping[int, pd.DataFrame], bundle: str) -> LabelTable:
    """A table with its measures replaced, and its labels and scores as they were.

    Features without a row get one that says `unlabelled`, so that their density and percentile are known too. A table
    that names no bundle gets this one's name.
    """
    measures = pd.concat(measured, names=KEYS)
    before = pd.DataFrame(index=measures.index, columns=REQUIRED) if table is None else table.frame
    frame = before.reindex(index=measures.index, columns=columns_of(before))
    frame["bundle"] = next(iter(table.bundles), bundle) if table else bundle
    frame[measures.columns] = measures
    if "specialization_source" in frame:
        frame["specialization_source"] = MEASURED
    return LabelTable(fill_blanks(frame))
