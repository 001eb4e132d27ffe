"""Measure a bundle's features on text of the user's own, window by window: nothing is kept but sums and quantiles."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import pandas as pd
import torch

from feature_tracker.corpus.quantiles import FiringQuantiles
from feature_tracker.corpus.statistics import QUANTILES, statistics_frame
from feature_tracker.errors import TrackerError
from feature_tracker.labels.ownership import BUNDLE
from feature_tracker.labels.scores import NOT_SCORED
from feature_tracker.labels.table import COLUMNS, KEYS, MEASURED, UNLABELLED, LabelTable, columns_of
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import tokenize
from feature_tracker.sae.topk import Sae

log = logging.getLogger(__name__)

_TOKENS_A_FORWARD = 2048  # as a trace: enough to fill a processor, few enough to keep the residual streams small
_LOG_SECONDS = 20
EXPECTED_TEXT = "Name a folder of .txt files, or a .jsonl or .jsonl.gz file."


class LayerSums:
    """What one layer's latents did on the text so far.

    Args:
        n_latents: latents of the layer's SAE.
    """

    def __init__(self, n_latents: int) -> None:
        self._sums = {True: np.zeros(n_latents), False: np.zeros(n_latents)}
        self._tokens = {True: 0, False: 0}
        self._fired = np.zeros(n_latents, np.int64)
        self._largest = np.zeros(n_latents, np.float32)
        self._quantiles = FiringQuantiles(n_latents)

    def add(self, values: np.ndarray, indices: np.ndarray, *, finance: bool) -> None:
        """Take in top-k activations (n_tokens, k) of one kind of text, BOS not among the tokens."""
        fires = values > 0
        latents, activations = indices[fires], values[fires]
        n_latents = len(self._fired)
        self._tokens[finance] += len(values)
        self._sums[finance] += np.bincount(latents, weights=activations.astype(float), minlength=n_latents)
        self._fired += np.bincount(latents, minlength=n_latents)
        np.maximum.at(self._largest, latents, activations)
        self._quantiles.add(latents, activations)

    def frame(self) -> pd.DataFrame:
        """The measures, one row a latent; columns as `statistics_frame`."""
        return statistics_frame(
            finance_sum=self._sums[True],
            general_sum=self._sums[False],
            finance_tokens=self._tokens[True],
            general_tokens=self._tokens[False],
            fired=self._fired,
            largest=self._largest.astype(float),
            quantiles=self._quantiles.quantiles(QUANTILES),
        )


def measure_features(
    finance: Iterable[str],
    general: Iterable[str],
    language_model: LanguageModel,
    saes: Mapping[int, Sae],
    *,
    window: int,
    max_tokens: int | None = None,
) -> dict[int, pd.DataFrame]:
    """Measures of every latent of every layer, over all tokens of two kinds of documents.

    Documents are cut into windows that each start with BOS, the last one of a document as short as it comes; BOS is
    counted nowhere.

    Args:
        window: longest window, BOS included.
        max_tokens: of each kind of text; the rest is left out, which the log says.

    Raises:
        TrackerError: one of the two has no text.
    """
    sums = {layer: LayerSums(sae.n_latents) for layer, sae in saes.items()}
    for kind, texts in (("finance", finance), ("general", general)):
        n_tokens = _measure_kind(kind, texts, language_model, saes, sums, window=window, max_tokens=max_tokens)
        if not n_tokens:
            raise TrackerError(f"There is no {kind} text. {EXPECTED_TEXT}")
    return {layer: layer_sums.frame() for layer, layer_sums in sorted(sums.items())}


def _measure_kind(
    kind: str,
    texts: Iterable[str],
    language_model: LanguageModel,
    saes: Mapping[int, Sae],
    sums: Mapping[int, LayerSums],
    *,
    window: int,
    max_tokens: int | None,
) -> int:
    """Add one kind of text to the sums; its number of tokens."""
    start = said = time.monotonic()
    done = 0
    for batch in _batches(_windows(texts, language_model, window, max_tokens), window):
        _add_batch(batch, language_model, saes, sums, finance=kind == "finance")
        done += sum(map(len, batch))
        if time.monotonic() - said > _LOG_SECONDS:
            said = time.monotonic()
            log.info("%s text: %d tokens, %.0f a second", kind, done, done / (said - start))
    log.info("%s text: %d tokens, done", kind, done)
    return done


def _windows(
    texts: Iterable[str], language_model: LanguageModel, window: int, max_tokens: int | None
) -> Iterator[np.ndarray]:
    """Token ids of every window, without BOS."""
    left = sys.maxsize if max_tokens is None else max_tokens
    for text in texts:
        if not text.strip():
            continue
        for ids in tokenize(text, language_model.tokenizer, window=window, max_tokens=sys.maxsize).windows():
            yield ids[:left]
            left -= len(ids)
            if left <= 0:
                log.info("stopped at %d tokens", max_tokens)
                return


def _batches(windows: Iterable[np.ndarray], window: int) -> Iterator[list[np.ndarray]]:
    """Windows in batches of about `_TOKENS_A_FORWARD` padded tokens, whole ones and short ones apart."""
    waiting: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for ids in windows:
        batch = waiting[len(ids) == window - 1]
        longest = max(len(ids), *map(len, batch)) if batch else len(ids)
        if batch and (len(batch) + 1) * (longest + 1) > _TOKENS_A_FORWARD:
            yield list(batch)
            batch.clear()
        batch.append(ids)
    yield from (batch for batch in waiting.values() if batch)


def _add_batch(
    batch: list[np.ndarray],
    language_model: LanguageModel,
    saes: Mapping[int, Sae],
    sums: Mapping[int, LayerSums],
    *,
    finance: bool,
) -> None:
    longest = max(map(len, batch))
    # Padded at the end, where no token of a causal model looks; what stands there is not encoded.
    token_ids = torch.full((len(batch), longest + 1), language_model.bos_id)
    for row, ids in enumerate(batch):
        token_ids[row, 1 : len(ids) + 1] = torch.from_numpy(ids)
    real = torch.arange(longest) < torch.tensor([len(ids) for ids in batch])[:, None]

    def encode(layer: int, resid: torch.Tensor) -> None:
        sae = saes[layer]
        top = sae.encode(resid[:, 1:][real.to(resid.device)].to(sae.decoder.device))
        sums[layer].add(top.values.cpu().numpy(), top.indices.cpu().numpy(), finance=finance)

    read_residuals(language_model.decoder, token_ids.to(language_model.model.device), list(saes), encode)


def fill_table(table: LabelTable | None, measured: Mapping[int, pd.DataFrame], bundle: str) -> LabelTable:
    """A table with its measures replaced, and its labels and scores as they were.

    Features without a row get one that says `unlabelled`, so that their density and percentile are known too. Where the
    table doesn't name its bundle, it does from then on.
    """
    measures = pd.concat(measured, names=KEYS)
    standing = pd.DataFrame(index=measures.index, columns=COLUMNS) if table is None else table.frame
    frame = standing.reindex(index=measures.index, columns=columns_of(standing))
    frame[BUNDLE] = next(iter(table.bundles), bundle) if table else bundle
    unlabelled = frame["label"].isna()
    frame[measures.columns] = measures
    if "specialization_source" in frame:
        frame["specialization_source"] = MEASURED
    if "mark" in frame:
        frame.loc[unlabelled, "mark"] = NOT_SCORED
    blank = {"label": UNLABELLED, "f1_method": "", "rule": "", "label_source": "", "original_label": ""}
    for name in frame.columns.intersection(list(blank)):
        frame[name] = frame[name].astype(object).fillna(blank[name])
    return LabelTable(frame)
