"""What single latents are good for: slow ones, those that tell documents apart, those that another seed finds too."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import normalize

from feature_tracker.corpus.harvest import Harvest
from feature_tracker.corpus.passages import PassageSums
from feature_tracker.feature import SLOW
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.attention_sinks import attention_sinks

MATCHED = 0.7
"""Cosine between decoder directions above which a latent counts as found by both seeds."""
TELLING = 0.2
"""Intraclass correlation above which a latent counts as telling documents of one source apart."""

_WINDOWS_AT_ONCE = 32
_PASSAGES = 2  # a window of 512 tokens is two passages of 256


class LatentQuality(NamedTuple):
    """One layer's latents, in order.

    Attributes:
        autocorrelation: (n_latents,) lag-20 autocorrelation of the activation, see `corpus.passages`.
        document_share: (n_latents,) share of the variance between passages of one source that lies between its
            documents; see `document_share`.
        seed_match: (n_latents,) largest cosine with a decoder direction of the other seed; `None` without one.
    """

    autocorrelation: np.ndarray
    document_share: np.ndarray
    seed_match: np.ndarray | None

    @property
    def n_slow(self) -> int:
        """Latents that fire on what a passage is about rather than on a word."""
        return int((self.autocorrelation > SLOW).sum())

    @property
    def n_telling(self) -> int:
        """Slow latents that tell documents of one source apart."""
        return int(((self.autocorrelation > SLOW) & (self.document_share > TELLING)).sum())

    @property
    def matched_share(self) -> float | None:
        """Share of latents that another seed finds too; `None` where there is no other seed."""
        return None if self.seed_match is None else float((self.seed_match > MATCHED).mean())


def latent_quality(layer: int, sae: Sae, harvest: Harvest, twin: Sae | None) -> LatentQuality:
    """Measure a layer's latents on a harvest, attention sinks left out.

    Args:
        twin: the layer's SAE of another seed.
    """
    sums = PassageSums(sae.n_latents)
    passages: list[np.ndarray] = []
    n_tokens = harvest.token_ids.shape[1] - 1
    for resid in harvest.resid(layer).view(harvest.n_done, n_tokens, -1).split(_WINDOWS_AT_ONCE):
        on_device = resid.to(sae.decoder.device)
        top = sae.encode(on_device)
        sinks = attention_sinks(on_device)
        for values, indices, sink in zip(top.values.cpu(), top.indices.cpu(), sinks.cpu(), strict=True):
            sums.add(values.numpy(), indices.numpy(), ~sink.numpy())
        roots = torch.zeros(*top.values.shape[:2], sae.n_latents, device=on_device.device)
        roots.scatter_(-1, top.indices, top.values.sqrt() * ~sinks[..., None])
        means = torch.stack([part.mean(dim=1) for part in roots.tensor_split(_PASSAGES, dim=1)], dim=1)
        passages.append(means.flatten(0, 1).cpu().numpy())
    windows = harvest.windows.part(slice(harvest.n_done))
    document, source = (np.repeat(numbers, _PASSAGES) for numbers in (windows.document, windows.source))
    return LatentQuality(
        sums.columns()["autocorrelation"],
        document_share(np.concatenate(passages), document, source),
        None if twin is None else seed_match(sae, twin),
    )


def seed_match(sae: Sae, other: Sae) -> np.ndarray:
    """(n_latents,) the largest cosine of each decoder direction with one of the other SAE."""
    directions, others = (normalize(one.decoder.cpu(), dim=1) for one in (sae, other))
    return (directions @ others.T).amax(dim=1).numpy()


def document_share(passages: np.ndarray, document: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Share of the variance between passages of one source that lies between its documents.

    This is the intraclass correlation ICC(1) of a one-way analysis of variance (Shrout and Fleiss 1979), with the
    documents as classes and each source's mean taken off. It is 0 where a document's passages are no more alike than
    those of other documents of its source, and 1 where they are all the same.

    Args:
        passages: (n, n_latents) one number a passage and latent.
        document: (n,) which document each passage is of. Documents with one passage are left out.
        source: (n,) which source each passage is of.

    Returns:
        (n_latents,), NaN where no source has two documents of several passages.
    """
    _, member, size = np.unique(document, return_inverse=True, return_counts=True)
    several = size[member] > 1
    values, sources = passages[several].astype(float), source[several]
    documents, member = np.unique(document[several], return_inverse=True)
    if len(documents) == 0:
        return np.full(passages.shape[1], np.nan)
    _, origin = np.unique(sources, return_inverse=True)
    between, within = _sum_of_squares(values, origin, member)
    n_sources = origin.max() + 1
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_between, mean_within = between / (len(documents) - n_sources), within / (len(values) - len(documents))
        size_0 = len(values) / len(documents)
        return (mean_between - mean_within) / (mean_between + (size_0 - 1) * mean_within)


def _sum_of_squares(values: np.ndarray, origin: np.ndarray, member: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of squares between documents, about their source's mean, and within documents, by column."""
    of_document, of_source = _class_means(values, member)[member], _class_means(values, origin)[origin]
    return ((of_document - of_source) ** 2).sum(axis=0), ((values - of_document) ** 2).sum(axis=0)


def _class_means(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    sums = np.zeros((classes.max() + 1, values.shape[1]))
    np.add.at(sums, classes, values)
    return sums / np.bincount(classes)[:, None]
