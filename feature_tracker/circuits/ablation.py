"""Ablation: how much downstream features lose when an upstream feature is removed from the residual stream.

Feature i of layer u is removed on every token where it fires: its activation times its decoder direction (times the
token's scale, where the SAE normalizes) is subtracted from the residual stream after block u. The blocks above run
again from there (nothing below is recomputed), and every deeper SAE layer is encoded again, top-k included. The effect
on a downstream feature is its activation before minus after, summed over the text: positive where the upstream feature
feeds it, negative where it suppresses it. The BOS position is left unchanged.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from feature_tracker.circuits.correlation import PAIR_COLUMNS
from feature_tracker.feature import Feature
from feature_tracker.model.forward_queue import Turn
from feature_tracker.tracing.recording import Recording

COLUMNS = [*PAIR_COLUMNS, "effect"]

_TOKENS_PER_FORWARD = 512  # within a second on two cores; others wait for it, and nobody can stop it


@dataclass(frozen=True)
class Ablation:
    """The effects of removing one feature.

    Attributes:
        source: the feature that was removed.
        effects: by deeper SAE layer, (n_latents,) activation before minus after, summed over the text.
    """

    source: Feature
    effects: dict[int, np.ndarray]


def ablate(
    recording: Recording,
    sources: Sequence[Feature],
    *,
    next_layer_only: bool = False,
    turn: Turn = nullcontext,
) -> Iterator[Ablation]:
    """Remove each source on its own, several per forward, and yield each result as soon as it is computed.

    Args:
        sources: features of any SAE layer but the last. A feature that never fires has no effect.
        next_layer_only: compute effects only on the SAE layer after the source's, which is cheaper.
        turn: taken for each forward, where other threads run models, too; `ablate_turns` says how often at most.
    """
    for layer in recording.layers[:-1]:
        layer_sources = [source for source in sources if source.layer == layer]
        deeper = [stop for stop in recording.layers if stop > layer]
        stops = deeper[:1] if next_layer_only else deeper
        step = _sources_per_forward(recording)
        for start in range(0, len(layer_sources), step):
            yield from _ablate_batch(recording, layer_sources[start : start + step], stops, turn)


def ablate_turns(recording: Recording, sources: Sequence[Feature]) -> int:
    """How many forwards it takes to ablate these sources, if all of them fire in every window."""
    step = _sources_per_forward(recording)
    per_layer = Counter(source.layer for source in sources)
    return len(recording.windows) * sum(math.ceil(n_sources / step) for n_sources in per_layer.values())


def _sources_per_forward(recording: Recording) -> int:
    return max(1, _TOKENS_PER_FORWARD // recording.trace.n_tokens)


def effects_of(ablations: Sequence[Ablation], targets: Sequence[Feature]) -> pd.DataFrame:
    """Effects on the given targets: one row per source and reached target, columns as `COLUMNS`."""
    rows = [
        (*ablation.source, *target, float(ablation.effects[target.layer][target.index]))
        for ablation in ablations
        for target in targets
        if target.layer in ablation.effects
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@torch.inference_mode()
def _ablate_batch(recording: Recording, sources: Sequence[Feature], stops: Sequence[int], turn: Turn) -> list[Ablation]:
    """Ablate features of one layer together: each is removed from its own copy of every window."""
    layer = sources[0].layer
    totals = {stop: np.zeros((len(sources), recording.saes[stop].n_latents)) for stop in stops}
    columns = np.stack([recording.trace.column(source) for source in sources])
    directions = recording.saes[layer].decoder[[source.index for source in sources]]
    for number, window in enumerate(recording.windows):
        activations = columns[:, recording.tokens_of(number)]
        fires = np.flatnonzero(activations.any(axis=1))  # a window without firings needs no forward
        if not len(fires):
            continue
        resid = window.resid[layer].repeat(len(fires), 1, 1)
        scale = recording.saes[layer].scale(window.resid[layer][recording.first :])
        removed = (
            torch.from_numpy(activations[fires]).to(directions)[:, :, None] * directions[fires][:, None, :] * scale
        )
        resid[:, recording.first :] -= removed.to(resid.dtype)
        with turn():
            for stop, changed in window.run(layer, resid, stops).items():
                before = _summed_activations(recording, stop, window.resid[stop][None])
                totals[stop][fires] += before - _summed_activations(recording, stop, changed)
    return [Ablation(source, {stop: totals[stop][row] for stop in stops}) for row, source in enumerate(sources)]


def _summed_activations(recording: Recording, layer: int, resid: torch.Tensor) -> np.ndarray:
    """(n, n_latents) activations of streams (n, window, d_model), summed over the tokens without BOS."""
    sae = recording.saes[layer]
    top = sae.encode(resid[:, recording.first :])
    summed = torch.zeros(len(resid), sae.n_latents, dtype=torch.float64, device=resid.device)
    return summed.scatter_add_(1, top.indices.flatten(1), top.values.flatten(1).double()).cpu().numpy()
