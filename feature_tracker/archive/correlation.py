"""Pearson correlation between features of different layers over all tokens of an archive, by sums over its parts.

Samples are the tokens that are no attention sinks; where a feature doesn't fire it counts as 0. One part is in memory
at a time, and sums of float64.

An archive has so many tokens that hardly any r would be 0 within sampling error, and neighbouring tokens aren't
independent. So r is compared with what is seen where the layers are shifted against each other by half a part: that
keeps every feature's own rhythm and breaks what two layers share. r says that two features fire on the same tokens, not
that one makes the other fire.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.schema import ACTIVATIONS
from feature_tracker.archive.selection import FEWEST
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature

_MOST_BYTES = 4 * 2**30
_ROUNDING = 1e-12
"""A variance that is a smaller share of the mean square is 0 but for rounding."""


class _Sums(NamedTuple):
    """Sums over the counted tokens, by layer or by pair of layers; float64.

    Attributes:
        first, second: (n_latents,) of activations and of their squares.
        n_documents: (n_latents,) documents in which the latent fires.
        products, shifted: (n_latents of the one, n_latents of the other) of products; `shifted` of a layer with another
            one's tokens half a part further.
    """

    first: dict[int, np.ndarray]
    second: dict[int, np.ndarray]
    n_documents: dict[int, np.ndarray]
    products: dict[tuple[int, int], np.ndarray]
    shifted: dict[tuple[int, int], np.ndarray]


@dataclass(frozen=True, eq=False)
class ArchiveCorrelation:
    """Correlations of all features with those of other layers, or of one feature with those.

    Attributes:
        n_tokens: tokens that were counted.
        r: by pair of layers, the shallower first, (n_latents, n_latents) Pearson's r; NaN where a latent never fires or
            is constant. Of one feature, its own layer's latents are that one alone.
        shifted_r: the same with the layers shifted against each other.
        n_documents: by layer, (n_latents,) documents in which each latent fires.
        feature: the one; `None` if all.
    """

    n_tokens: int
    r: dict[tuple[int, int], np.ndarray]
    shifted_r: dict[tuple[int, int], np.ndarray]
    n_documents: dict[int, np.ndarray]
    feature: Feature | None = None

    def strongest(self, top: int) -> pd.DataFrame:
        """The pairs with the largest |r|, of features that fire in at least `FEWEST` documents each.

        Returns:
            `source_layer, source_feature, target_layer, target_feature, r, chance`: the source is shallower, and chance
            is how many pairs have as large an |r| where the layers are shifted against each other.
        """
        frames, null = [], []
        for (a, b), r in self.r.items():
            judged = np.outer(self._judged(a), self._judged(b)) & np.isfinite(r)
            size = np.where(judged, np.abs(r), -1.0).ravel()
            best = np.argpartition(-size, min(top, size.size - 1))[:top]
            best = best[size[best] >= 0]
            source, target = np.divmod(best, r.shape[1])
            frames.append(
                pd.DataFrame(
                    {
                        "source_layer": a,
                        "source_feature": self._latents(a)[source],
                        "target_layer": b,
                        "target_feature": self._latents(b)[target],
                        "r": r.ravel()[best],
                    }
                )
            )
            null.append(np.abs(self.shifted_r[a, b][judged]))
        pairs = pd.concat(frames).sort_values("r", key=np.abs, ascending=False, kind="stable", ignore_index=True)
        chance = np.sort(np.concatenate(null))
        pairs = pairs.head(top)
        return pairs.assign(chance=len(chance) - np.searchsorted(chance, pairs["r"].abs(), side="left"))

    @property
    def n_pairs(self) -> int:
        """Pairs that are judged."""
        return sum(int(self._judged(a).sum()) * int(self._judged(b).sum()) for a, b in self.r)

    def _judged(self, layer: int) -> np.ndarray:
        return self.n_documents[layer][self._latents(layer)] >= FEWEST

    def _latents(self, layer: int) -> np.ndarray:
        if self.feature is not None and layer == self.feature.layer:
            return np.array([self.feature.index])
        return np.arange(len(self.n_documents[layer]))


def correlate_archive(archive: Archive, feature: Feature | None = None) -> ArchiveCorrelation:
    """Correlate all features of different layers, or one feature with those of the other layers.

    Args:
        feature: one of the archive's.

    Raises:
        TrackerError: there is one layer only, no token, or the pairs take more than 4 GiB.
    """
    n_latents = archive.manifest.n_latents
    pairs = [pair for pair in combinations(archive.manifest.layers, 2) if feature is None or feature.layer in pair]
    if not pairs:
        raise TrackerError("This archive has one layer only. Correlation is between features of different layers.")
    kept = {layer: slice(None) for layer in n_latents}
    if feature is not None:
        kept[feature.layer] = slice(feature.index, feature.index + 1)
    size = {layer: len(range(n)[kept[layer]]) for layer, n in n_latents.items()}
    n_bytes = 16 * sum(size[a] * size[b] for a, b in pairs)
    if n_bytes > _MOST_BYTES:
        raise TrackerError(
            f"All pairs of features of this archive take {n_bytes / 2**30:.0f} GiB of sums, and at most "
            f"{_MOST_BYTES / 2**30:.0f} are taken. Name one feature to correlate with all others."
        )
    first, second, firing = ({layer: np.zeros(n) for layer, n in n_latents.items()} for _ in range(3))
    products, shifted = ({(a, b): np.zeros((size[a], size[b])) for a, b in pairs} for _ in range(2))
    sums = _Sums(first, second, firing, products, shifted)
    n_tokens = 0
    for part in _parts(archive):
        n_tokens += _add(sums, part, kept)
    if n_tokens == 0:
        raise TrackerError(f"{archive.folder} holds no tokens yet. Wait until its first part is finished.")
    moments = {layer: _mean_and_spread(sums, layer, n_tokens) for layer in n_latents}

    def pearson(products: dict[tuple[int, int], np.ndarray]) -> dict[tuple[int, int], np.ndarray]:
        r = {}
        for (a, b), product in products.items():
            (mean_a, sd_a), (mean_b, sd_b) = ([moment[kept[layer]] for moment in moments[layer]] for layer in (a, b))
            r[a, b] = np.clip((product / n_tokens - np.outer(mean_a, mean_b)) / np.outer(sd_a, sd_b), -1, 1)
        return r

    counts = {layer: n.astype(np.int64) for layer, n in sums.n_documents.items()}
    return ArchiveCorrelation(n_tokens, pearson(sums.products), pearson(sums.shifted), counts, feature)


class _Part(NamedTuple):
    """The counted tokens of one part.

    Attributes:
        document: (n_counted,) number of each token's document, ascending.
        layers: (n_counted, n_latents) float64 activations by layer.
    """

    document: np.ndarray
    layers: dict[int, csr_array]


def _parts(archive: Archive) -> Iterator[_Part]:
    n_latents = archive.manifest.n_latents
    data_sets = [archive.dataset("tokens"), *(archive.activations(layer) for layer in n_latents)]
    # A data set has its files in the order in which it was given them: that of the parts.
    for tokens, *activations in zip(*(data_set.get_fragments() for data_set in data_sets), strict=True):
        table = tokens.to_table(columns=["document", "token", "attention_sink"])
        document, token, sink = (column.to_numpy() for column in table.columns)
        first = token[:1].sum()
        row_of = np.where(sink, -1, np.cumsum(~sink) - 1)
        layers = {}
        for (layer, n), fragment in zip(n_latents.items(), activations, strict=True):
            table = fragment.to_table(schema=ACTIVATIONS, columns=["token", "feature", "activation"])
            at, latent, value = (column.to_numpy() for column in table.columns)
            row = row_of[at - first]
            counts = row >= 0
            entries = value[counts].astype(np.float64), (row[counts], latent[counts])
            layers[layer] = csr_array(entries, shape=(int((~sink).sum()), n))
        yield _Part(document[~sink], layers)


def _add(sums: _Sums, part: _Part, kept: dict[int, slice]) -> int:
    """Add a part; gives the number of its tokens."""
    n_tokens = len(part.document)
    for layer, columns in part.layers.items():
        sums.first[layer] += np.asarray(columns.sum(axis=0))
        sums.second[layer] += np.asarray(columns.power(2).sum(axis=0))
        row, latent = columns.nonzero()
        n = len(sums.first[layer])
        of_document = np.unique(part.document[row].astype(np.int64) * n + latent)
        sums.n_documents[layer] += np.bincount(of_document % n, minlength=n)
    half_further = np.roll(np.arange(n_tokens), n_tokens // 2)
    for a, b in sums.products:
        left, right = (part.layers[layer][:, kept[layer]] for layer in (a, b))
        sums.products[a, b] += (left.T @ right).toarray()
        sums.shifted[a, b] += (left[half_further].T @ right).toarray()
    return n_tokens


def _mean_and_spread(sums: _Sums, layer: int, n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """(n_latents,) means and standard deviations; NaN for a latent that is constant."""
    mean, square = sums.first[layer] / n_tokens, sums.second[layer] / n_tokens
    variance = square - mean**2
    return mean, np.sqrt(np.where(variance > _ROUNDING * square, variance, np.nan))
