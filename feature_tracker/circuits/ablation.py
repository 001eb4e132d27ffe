"""What downstream features really lose when an upstream feature is taken out of the residual stream.

Feature i of layer u is taken out on every token where it fires: its activation times its decoder direction is
subtracted from the residual stream after block u. The blocks above run on from there (nothing below is computed again),
and every downstream layer is encoded anew, top-k included. A downstream feature's effect is its activation before minus
after, summed over the text: positive where the upstream feature feeds it, negative where it holds it back. BOS stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from feature_tracker.feature import Feature
from feature_tracker.progress import Progress, silent
from feature_tracker.tracing.recording import Recording

COLUMNS = ["source_layer", "source_feature", "target_layer", "target_feature", "effect"]

_TOKENS_AT_ONCE = 2048  # a few seconds on two cores: whoever waits for the next result can stop after it


@dataclass(frozen=True)
class Ablation:
    """What happened without one feature.

    Attributes:
        source: the feature that was taken out.
        effects: by deeper SAE layer, (n_latents,) activation before minus after, summed over the text.
    """

    source: Feature
    effects: dict[int, np.ndarray]


def ablate(
    recording: Recording,
    sources: Sequence[Feature],
    *,
    next_layer_only: bool = False,
    progress: Progress = silent,
) -> Iterator[Ablation]:
    """Take features out one at a time, several in one forward; each is yielded as soon as it is known.

    Args:
        sources: of any SAE layer but the last; one that never fires has no effect.
        next_layer_only: stop at the SAE layer after the source's, which is cheaper.
    """
    done = 0
    for layer in recording.layers[:-1]:
        own = [source for source in sources if source.layer == layer]
        stops = [stop for stop in recording.layers if stop > layer][: 1 if next_layer_only else None]
        step = max(1, _TOKENS_AT_ONCE // recording.trace.n_tokens)
        for start in range(0, len(own), step):
            progress("Taking features out", done / len(sources))
            batch = own[start : start + step]
            yield from _ablate_batch(recording, batch, stops)
            done += len(batch)
    progress("Taking features out", 1.0)


def effects_of(ablations: Sequence[Ablation], targets: Sequence[Feature]) -> pd.DataFrame:
    """Effects on chosen targets, columns as `COLUMNS`; one row a source and target that was reached."""
    rows = [
        (*ablation.source, *target, float(ablation.effects[target.layer][target.index]))
        for ablation in ablations
        for target in targets
        if target.layer in ablation.effects
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


@torch.inference_mode()
def _ablate_batch(recording: Recording, sources: Sequence[Feature], stops: Sequence[int]) -> list[Ablation]:
    """Features of one layer, taken out of one copy of each window each."""
    layer = sources[0].layer
    totals = {stop: np.zeros((len(sources), recording.saes[stop].n_latents)) for stop in stops}
    columns = np.stack([recording.trace.column(source) for source in sources])
    directions = recording.saes[layer].decoder[[source.index for source in sources]]
    for number, window in enumerate(recording.windows):
        activations = columns[:, recording.tokens_of(number)]
        fires = np.flatnonzero(activations.any(axis=1))  # elsewhere nothing changes in this window
        if not len(fires):
            continue
        resid = window.resid[layer].repeat(len(fires), 1, 1)
        taken = torch.from_numpy(activations[fires]).to(directions)[:, :, None] * directions[fires][:, None, :]
        resid[:, 1:] -= taken.to(resid.dtype)
        for stop, changed in window.run(layer, resid, stops).items():
            before = _summed(recording, stop, window.resid[stop][None])
            totals[stop][fires] += before - _summed(recording, stop, changed)
    return [Ablation(source, {stop: totals[stop][place] for stop in stops}) for place, source in enumerate(sources)]


def _summed(recording: Recording, layer: int, resid: torch.Tensor) -> np.ndarray:
    """(n, n_latents) activations of streams (n, window, d_model), summed over the tokens, BOS left out."""
    sae = recording.saes[layer]
    top = sae.encode(resid[:, 1:])
    summed = torch.zeros(len(resid), sae.n_latents, dtype=torch.float64, device=resid.device)
    return summed.scatter_add_(1, top.indices.flatten(1), top.values.flatten(1).double()).cpu().numpy()
