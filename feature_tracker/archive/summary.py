"""Each feature over all documents: statistics, and where it fires. The parts are streamed, layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.schema import EXCERPTS, SIGNIFICANT_BITS, STATISTICS

TOP = 10
"""Excerpts of the kind `top` a feature, each of another document."""
SPREAD = 10
"""Excerpts of the kind `spread` a feature, each of another half octave of strength."""

_SHARES = {"q50": 0.5, "q90": 0.9, "q99": 0.99}
_LATENTS_AT_ONCE = 4096  # whose strengths are counted in one reading, in some 100 MB
_ROWS_AT_ONCE = 2**21
_CUT = 24 - SIGNIFICANT_BITS  # lowest bits of an activation, which are 0
_HALF_OCTAVE = 22  # bits right of a float's exponent and the first of its mantissa
_N_HALF_OCTAVES = 2**9
_NONE = np.iinfo(np.int64).max
_BY_FEATURE = ["layer", "feature"]
_ACTIVATION_COLUMNS = ("token", "feature", "activation")


class Summary(NamedTuple):
    """Tables over all documents; see `archive.schema`."""

    statistics: pa.Table
    excerpts: pa.Table


def summarize(archive: Archive) -> Summary:
    """Both tables, in memory that doesn't grow with the documents.

    Only whole numbers are summed, and what is chosen depends on documents and tokens alone: however the documents are
    cut into parts, the tables are the same.
    """
    peaks = _Peaks(archive)
    statistics, excerpts = [], [peaks.top.assign(kind="top")]
    for layer in archive.manifest.layers:
        n_latents = archive.manifest.n_latents[layer]
        for first in range(0, n_latents, _LATENTS_AT_ONCE):
            strengths = _Strengths(first, min(_LATENTS_AT_ONCE, n_latents - first))
            for batch in _counted(archive, layer):
                strengths.add(batch)
            statistics.append(strengths.statistics(peaks.n_counted).assign(layer=layer))
            excerpts.append(strengths.spread().assign(layer=layer))
    n_documents = np.concatenate([peaks.n_documents[layer] for layer in archive.manifest.layers])
    by_feature = pd.concat(statistics).assign(n_documents=n_documents)
    return Summary(
        pa.Table.from_pandas(by_feature, schema=STATISTICS, preserve_index=False),
        pa.Table.from_pandas(_excerpts(excerpts), schema=EXCERPTS, preserve_index=False),
    )


def _excerpts(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of `top` and `spread`, strongest first; a token of `top` is not among `spread` again."""
    rows = pd.concat(parts)
    rows = rows[~rows.duplicated([*_BY_FEATURE, "token"])]
    return rows.sort_values(
        [*_BY_FEATURE, "kind", "activation", "document"], ascending=[True, True, False, False, True], kind="stable"
    )


class _Peaks:
    """What the table `features` tells about each feature.

    Attributes:
        top: `layer, feature, document, token, activation`, of each feature the `TOP` strongest documents.
        n_documents: (n_latents,) in which each feature fires, by layer.
        n_counted: tokens of all documents that are counted.
    """

    def __init__(self, archive: Archive) -> None:
        columns = {"document": "document", "layer": "layer", "feature": "feature", "max": "activation", "peak": "token"}
        n_latents = archive.manifest.n_latents
        self.top = pd.DataFrame(columns=list(columns.values()))
        self.n_documents = {layer: np.zeros(n, np.int64) for layer, n in n_latents.items()}
        self.n_counted = 0
        for part in range(archive.n_parts):
            table = pq.read_table(_path(archive, "features", part), columns=list(columns))
            rows = table.to_pandas().rename(columns=columns)
            for layer, of_layer in rows.groupby("layer"):
                self.n_documents[layer] += np.bincount(of_layer["feature"], minlength=n_latents[layer])
            candidates = pd.concat([self.top, rows]) if len(self.top) else rows
            order = candidates.sort_values(
                [*_BY_FEATURE, "activation", "document"], ascending=[True, True, False, True]
            )
            self.top = order.groupby(_BY_FEATURE, sort=False).head(TOP)
            n_counted = pq.read_table(_path(archive, "documents", part), columns=["n_counted"])
            self.n_counted += int(np.sum(n_counted["n_counted"].to_numpy()))


class _Batch(NamedTuple):
    """Activations on counted tokens of a part, sorted by feature, document and token.

    Attributes:
        row: (n,) of the token in the part.
        feature: (n,) latent.
        activation: (n,) float32.
        tokens: the part's.
    """

    row: np.ndarray
    feature: np.ndarray
    activation: np.ndarray
    tokens: _PartTokens


class _PartTokens(NamedTuple):
    """A part's tokens, (n_tokens,) each, in order.

    Attributes:
        document: number in the archive.
        token: number in the archive.
        counted: whether it is.
        priority: as good as random from 0 to 2^31 - 1, and always the same.
    """

    document: np.ndarray
    token: np.ndarray
    counted: np.ndarray
    priority: np.ndarray


def _counted(archive: Archive, layer: int) -> Iterator[_Batch]:
    """One layer's activations, part by part."""
    for part in range(archive.n_parts):
        tokens = _part_tokens(archive, part)
        first = tokens.token[:1].sum()
        with pq.ParquetFile(_path(archive, f"activations/layer={layer}", part)) as file:
            for rows in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                token, feature, activation = (rows.column(name).to_numpy() for name in _ACTIVATION_COLUMNS)
                row = token - first
                counted = np.flatnonzero(tokens.counted[row])
                yield _Batch(row[counted], feature[counted], activation[counted].astype(np.float32), tokens)


def _part_tokens(archive: Archive, part: int) -> _PartTokens:
    table = pq.read_table(_path(archive, "tokens", part), columns=["document", "token", "attention_sink"])
    document, token, sink = (column.to_numpy() for column in table.columns)
    # splitmix64 of the token's number.
    mixed = token.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return _PartTokens(document, token, ~sink, (mixed >> np.uint64(33)).astype(np.int64))


def _path(archive: Archive, name: str, part: int) -> Path:
    return archive.folder / name / f"part-{part:05}.parquet"


class _Strengths:
    """How strongly some latents fire: a count of every value that can be stored, and one example of each half octave.

    Args:
        first: latent.
        n_latents: from it on.
    """

    def __init__(self, first: int, n_latents: int) -> None:
        self._first, self._n_latents = first, n_latents
        self._lowest = 0  # of the values that are counted
        self._counts = np.zeros((n_latents, 0), np.int64)
        n_keys = n_latents * _N_HALF_OCTAVES
        self._priority = np.full(n_keys, _NONE >> 32)  # the lowest is the example
        self._document, self._token = np.zeros(n_keys, np.int32), np.zeros(n_keys, np.int64)
        self._activation = np.zeros(n_keys, np.float32)

    def add(self, batch: _Batch) -> None:
        """Count what is of these latents."""
        bounds = slice(*np.searchsorted(batch.feature, [self._first, self._first + self._n_latents]))
        row, latent = batch.row[bounds], batch.feature[bounds].astype(np.int64) - self._first
        if not len(row):
            return
        activation = batch.activation[bounds]
        bits = activation.view(np.uint32)
        value = (bits >> _CUT).astype(np.int64)
        self._widen(int(value.min()), int(value.max()) + 1)
        width = self._counts.shape[1]
        np.add.at(self._counts.reshape(-1), latent * width + (value - self._lowest), 1)
        # Priority and place in one number, the lowest of which is found for all half octaves at once.
        ranked = (batch.tokens.priority[row] << 32) | np.arange(len(row))
        best = np.full(len(self._priority), _NONE)
        np.minimum.at(best, latent * _N_HALF_OCTAVES + (bits >> _HALF_OCTAVE), ranked)
        keys = np.flatnonzero(best >> 32 < self._priority)
        at = best[keys] & 0xFFFFFFFF
        self._priority[keys] = best[keys] >> 32
        self._document[keys] = batch.tokens.document[row[at]]
        self._token[keys] = batch.tokens.token[row[at]]
        self._activation[keys] = activation[at]

    def _widen(self, low: int, high: int) -> None:
        """Make room for values from `low` up to below `high`."""
        if not self._counts.shape[1]:
            self._lowest = low
        before = max(0, self._lowest - low)
        after = max(0, high - self._lowest - self._counts.shape[1])
        if before or after:
            self._counts = np.pad(self._counts, ((0, 0), (before, after)))
            self._lowest -= before

    def statistics(self, n_counted: int) -> pd.DataFrame:
        """One row a latent; see `archive.schema.STATISTICS`."""
        width = self._counts.shape[1]
        bits = (np.arange(self._lowest, self._lowest + width, dtype=np.uint32)) << _CUT
        values = bits.view(np.float32).astype(float)
        n_fired = self._counts.sum(axis=1)
        sums = self._counts @ values if width else np.zeros(self._n_latents)
        quantiles = np.array([_quantiles(counts, values) for counts in self._counts])
        return pd.DataFrame(
            {
                "feature": np.arange(self._first, self._first + self._n_latents),
                "density": n_fired / max(n_counted, 1),
                "mean": sums / max(n_counted, 1),
                **dict(zip([*_SHARES, "max"], quantiles.T, strict=True)),
            }
        )

    def spread(self) -> pd.DataFrame:
        """Examples of each latent from strong to weak, evenly over the half octaves in which it fires."""
        keys = np.flatnonzero(self._priority < _NONE >> 32)
        latent = keys // _N_HALF_OCTAVES
        ends = np.searchsorted(latent, np.arange(self._n_latents + 1))
        chosen = [
            keys[start + np.unique(np.linspace(0, end - start - 1, min(SPREAD, end - start)).round().astype(int))]
            for start, end in pairwise(ends)
            if end > start
        ]
        at = np.concatenate([*chosen, np.zeros(0, np.int64)])
        return pd.DataFrame(
            {
                "feature": self._first + at // _N_HALF_OCTAVES,
                "kind": "spread",
                "document": self._document[at],
                "token": self._token[at],
                "activation": self._activation[at],
            }
        )


def _quantiles(counts: np.ndarray, values: np.ndarray) -> list[float]:
    """Quantiles of values that come so many times, linear between neighbours, and the largest; 0 where none comes."""
    total = int(counts.sum())
    if not total:
        return [0.0] * (len(_SHARES) + 1)
    up_to = np.cumsum(counts)
    ranks = np.array([*_SHARES.values(), 1.0]) * (total - 1)
    floor = np.floor(ranks)
    below, above = (values[np.searchsorted(up_to, rank, side="right")] for rank in (floor, np.ceil(ranks)))
    return list(below + (ranks - floor) * (above - below))
