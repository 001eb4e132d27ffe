"""From a part's documents to its tables: a pure function, which any engine can call where it holds the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from scipy import sparse

from feature_tracker.archive.parts import Part
from feature_tracker.archive.schema import ACTIVATIONS, DOCUMENTS, FEATURES, SIGNIFICANT_BITS, TOKENS, UNREAD
from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import TOKENS_PER_FORWARD, Batch, Encoded, Forward, batched, run
from feature_tracker.tracing.trace import Trace

_MAX_PADDING = 0.04
_TOKENS_PER_CORE = 1024  # as fast as 512, and a tenth faster than 2048


class PartTables(NamedTuple):
    """A part's tables; see `archive.schema`.

    Attributes:
        by_feature: (n_tokens, n_latents) activations by layer, of which `activations` makes tables: all of them at once
            would take twice as much memory.
        n_positions: that were computed, BOS and padding included.
    """

    documents: pa.Table
    tokens: pa.Table
    features: pa.Table
    unread: pa.Table
    by_feature: dict[int, sparse.csc_matrix]
    n_positions: int

    def activations(self, layer: int) -> pa.Table:
        """One layer's table `activations`."""
        by_feature = self.by_feature[layer]
        rows, activations = by_feature.indices, rounded(by_feature.data)
        document, token = (self.tokens[name].to_numpy()[rows] for name in ("document", "token"))
        table = _table([document, token, _features_of(by_feature), activations], ACTIVATIONS)
        with np.errstate(over="ignore"):
            half = activations.astype(np.float16)
        # A file of half precision takes less room, and is read as float32 with the archive's schema. Values from 1e-4
        # to 65,504 stand there unchanged; where one lies outside, the file has float32.
        return table.set_column(3, "activation", pa.array(half)) if (half == activations).all() else table


def run_part(
    part: Part,
    language_model: LanguageModel,
    saes: Mapping[int, Sae],
    *,
    forward: Forward = read_residuals,
    on_batch: Callable[[Batch], None] = lambda _batch: None,
) -> PartTables:
    """Run a part's documents and make its tables.

    Args:
        saes: by layer, each on its layer's device.
        on_batch: called after each batch.

    Raises:
        TrackerError: an activation is not finite.
    """
    windows = [ids for document in part.documents for ids in document.tokens.windows()]
    longest = max((document.tokens.window for document in part.documents), default=2)
    # Windows of one length in one batch: nearly nothing is padded.
    by_length = sorted(range(len(windows)), key=lambda number: len(windows[number]), reverse=True)
    gathered = _Gathered(saes, windows, by_length)
    on_cpu = language_model.model.device.type == "cpu"
    batches = batched(
        (windows[number] for number in by_length),
        window=longest,
        bos_id=language_model.bos_id,
        tokens=_TOKENS_PER_CORE if on_cpu else TOKENS_PER_FORWARD,
        max_padding=_MAX_PADDING,
    )
    ran = run(
        batches,
        language_model,
        sorted(saes),
        saes=saes,
        activation_sinks=[gathered.add],
        forward=forward,
        at_once=torch.get_num_threads() if on_cpu else 1,
    )
    for batch in ran:
        gathered.n_positions += batch.token_ids.numel()
        on_batch(batch)
    return gathered.tables(part)


class _Gathered:
    """An activation sink for windows that don't come in their order.

    Args:
        windows: (n_tokens,) ids each, in the order of the text.
        by_length: the order in which they are run.
    """

    def __init__(self, saes: Mapping[int, Sae], windows: Sequence[np.ndarray], by_length: Sequence[int]) -> None:
        self._saes = saes
        self._starts = [0, *accumulate(map(len, windows))]
        self._by_length = by_length
        self._rows: list[np.ndarray] = []  # of tokens, by batch
        self._batch: Batch | None = None
        self._sinks = np.zeros(self._starts[-1], bool)
        self._values: dict[int, list[np.ndarray]] = {layer: [] for layer in sorted(saes)}
        self._indices: dict[int, list[np.ndarray]] = {layer: [] for layer in self._values}
        self._counts: dict[int, list[np.ndarray]] = {layer: [] for layer in self._values}
        self.n_positions = 0

    def add(self, layer: int, encoded: Encoded, batch: Batch) -> None:
        """Keep one layer's activations on a batch."""
        if batch is not self._batch:
            self._batch = batch
            windows = [self._by_length[number] for number in batch.numbers]
            self._rows.append(np.concatenate([np.arange(self._starts[w], self._starts[w + 1]) for w in windows]))
        values, indices, sinks = (part.numpy() for part in encoded)
        if not np.isfinite(values).all():
            raise TrackerError(
                f"Layer {layer} gives numbers that are not finite. If the bundle's dtype is float16, set it to bfloat16"
                " or float32: some models overflow in float16. Else the weights are damaged; fetch them again."
            )
        self._sinks[self._rows[-1]] |= sinks
        fires = values > 0  # where a value is 0 its index says nothing
        self._counts[layer].append(fires.sum(axis=1))
        self._values[layer].append(values[fires])
        self._indices[layer].append(indices[fires])

    def tables(self, part: Part) -> PartTables:
        """The tables of the part whose windows were run."""
        tokens = _Tokens(part, self._sinks)
        order = np.argsort(np.concatenate([*self._rows, np.zeros(0, np.int64)]))
        by_feature = {layer: self._matrix(layer)[order].tocsc() for layer in list(self._values)}
        features = [_feature_table(layer, matrix, tokens) for layer, matrix in by_feature.items()]
        by_document = pa.concat_tables(features).sort_by([("document", "ascending"), ("layer", "ascending")])
        return PartTables(
            _document_table(part, tokens),
            tokens.table(),
            by_document,
            pa.Table.from_pylist([entry._asdict() for entry in part.unread], schema=UNREAD),
            by_feature,
            self.n_positions,
        )

    def _matrix(self, layer: int) -> sparse.csr_matrix:
        """(n_tokens, n_latents) activations, tokens in the order in which they were run; they are given up."""
        values, indices, counts = (
            np.concatenate([*by_layer.pop(layer), np.zeros(0, dtype)])
            for by_layer, dtype in (
                (self._values, np.float32), (self._indices, np.int32), (self._counts, np.int64)
            )
        )  # fmt: skip
        bounds = np.concatenate([[0], np.cumsum(counts)])
        return sparse.csr_matrix((values, indices, bounds), shape=(len(counts), self._saes[layer].n_latents))


class _Tokens:
    """A part's tokens, row by row.

    Attributes:
        document: (n_tokens,) int32 number in the archive.
        token: (n_tokens,) int64 number in the archive.
        counted: (n_tokens,) bool, see `Trace.counted`.
    """

    def __init__(self, part: Part, sinks: np.ndarray) -> None:
        self._documents = part.documents
        self.first_document = part.first_document
        self.lengths = np.array([document.tokens.n_tokens for document in part.documents], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])
        numbers = np.arange(part.first_document, part.first_document + len(part.documents), dtype=np.int32)
        self.document = np.repeat(numbers, self.lengths)
        self.token = part.first_token + np.arange(self.starts[-1])
        self.counted = np.zeros(len(self.document), bool)
        for start, document in zip(self.starts[:-1], part.documents, strict=True):
            trace = Trace(document.tokens, {}, sinks[start : start + document.tokens.n_tokens])
            self.counted[start + trace.counted] = True

    @property
    def n_counted(self) -> np.ndarray:
        """(n_documents,) counted tokens of each document."""
        return np.bincount(self.document[self.counted] - self.first_document, minlength=len(self.lengths))

    def table(self) -> pa.Table:
        """See `archive.schema.TOKENS`."""
        offsets = np.concatenate([*(d.tokens.offsets for d in self._documents), np.zeros((0, 2), np.int64)])
        ids = np.concatenate([*(d.tokens.ids for d in self._documents), np.zeros(0, np.int64)])
        columns = [self.document, self.token, ids, offsets[:, 0], offsets[:, 1], ~self.counted]
        return _table(columns, TOKENS)


def _table(columns: Sequence[np.ndarray], schema: pa.Schema) -> pa.Table:
    arrays = [pa.array(column).cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)


def _document_table(part: Part, tokens: _Tokens) -> pa.Table:
    rows = [
        {
            "document": part.first_document + index,
            "name": document.name,
            "source": document.source,
            "date": document.date,
            "group": document.group,
            "first_token": part.first_token + int(start),
            "n_tokens": document.tokens.n_tokens,
            "n_counted": int(n_counted),
            "notes": " ".join(document.notes),
            "text": document.tokens.text,
        }
        for index, (document, start, n_counted) in enumerate(
            zip(part.documents, tokens.starts[:-1], tokens.n_counted, strict=True)
        )
    ]
    return pa.Table.from_pylist(rows, schema=DOCUMENTS)


def _features_of(by_feature: sparse.csc_matrix) -> np.ndarray:
    return np.repeat(np.arange(len(by_feature.indptr) - 1, dtype=np.int32), np.diff(by_feature.indptr))


def rounded(values: np.ndarray) -> np.ndarray:
    """Float32 values rounded to the nearest of `SIGNIFICANT_BITS`, ties to even."""
    bits, cut = values.view(np.uint32), 24 - SIGNIFICANT_BITS
    return (bits + (2 ** (cut - 1) - 1) + (bits >> cut & 1) >> cut << cut).view(np.float32)


def _feature_table(layer: int, by_feature: sparse.csc_matrix, tokens: _Tokens) -> pa.Table:
    """One layer's rows, by feature and document, as `tracing.rank.aggregate` has them over the counted tokens."""
    counts = tokens.counted[by_feature.indices]
    rows, values = by_feature.indices[counts], by_feature.data[counts]
    feature, document = _features_of(by_feature)[counts], tokens.document[rows]
    is_first = np.ones(len(rows), bool)
    is_first[1:] = (np.diff(feature) != 0) | (np.diff(document) != 0)
    starts = np.flatnonzero(is_first)
    if not len(starts):
        return FEATURES.empty_table()
    sizes = np.diff(np.append(starts, len(rows)))
    n_counted = tokens.n_counted[document[starts] - tokens.first_document]
    largest = np.maximum.reduceat(values, starts)
    # Of several tokens with the largest activation the first is the peak, as `argmax` has it.
    at = np.where(values == np.repeat(largest, sizes), np.arange(len(rows)), len(rows))
    peaks = tokens.token[rows[np.minimum.reduceat(at, starts)]]
    columns = [
        document[starts],
        np.full(len(starts), layer),
        feature[starts],
        largest,
        np.add.reduceat(values, starts, dtype=np.float64) / n_counted,
        np.add.reduceat(np.sqrt(values), starts, dtype=np.float64) / n_counted,
        sizes / n_counted,
        peaks,
    ]
    return _table(columns, FEATURES)
