"""Measure SAEs on held-out text: what they leave unexplained, what they cost the model, and what their latents tell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from feature_tracker.corpus.harvest import Harvest
from feature_tracker.files import replacing
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.training.latents import LatentQuality, latent_quality
from feature_tracker.training.reconstruction import (
    Baseline,
    Reconstruction,
    cross_entropy,
    mean_baseline,
    reconstruction,
)


class SaeQuality(NamedTuple):
    """One layer's quality on held-out text, BOS left out.

    Attributes:
        layer: 0-based block.
        baseline: what the cross-entropies are held against.
        with_sinks: with attention sinks counted like any other token.
        without_sinks: with attention sinks left out and left as they are.
        latents: what single latents are good for, attention sinks left out.
    """

    layer: int
    baseline: Baseline
    with_sinks: Reconstruction
    without_sinks: Reconstruction
    latents: LatentQuality


@torch.inference_mode()
def measure_saes(
    saes: Mapping[int, Sae],
    harvest: Harvest,
    language_model: LanguageModel,
    *,
    twins: Mapping[int, Sae] | None = None,
    windows: int = 64,
) -> list[SaeQuality]:
    """Measure SAEs on a harvest of held-out text, and cross-entropies on its first `windows` windows.

    Args:
        twins: SAEs of another seed by layer, to see which latents both have.
    """
    measured = []
    ce = cross_entropy(harvest, language_model, windows)
    for layer, cpu_sae in saes.items():
        sae = cpu_sae.to(language_model.layer_device(layer))
        baseline = mean_baseline(layer, harvest, language_model, ce, windows)
        with_sinks, without_sinks = (
            reconstruction(layer, sae, harvest, language_model, with_sinks=counted, baseline=baseline, windows=windows)
            for counted in (True, False)
        )
        latents = latent_quality(layer, sae, harvest, (twins or {}).get(layer))
        measured.append(SaeQuality(layer, baseline, with_sinks, without_sinks, latents))
    return measured


def save_quality(path: Path, measured: Sequence[SaeQuality]) -> None:
    """Write what was measured as JSON: one record per layer, with one record per latent in it."""
    with replacing(path) as beside:
        beside.write_text(json.dumps([_record(row) for row in measured], indent=1) + "\n", encoding="utf-8")


def _record(row: SaeQuality) -> dict[str, Any]:
    columns = {
        name: [round(float(value), 4) if math.isfinite(value) else None for value in values]
        for name, values in row.latents._asdict().items()
        if values is not None
    }
    return {
        "layer": row.layer,
        **row.baseline._asdict(),
        "with_sinks": row.with_sinks._asdict(),
        "without_sinks": row.without_sinks._asdict(),
        "n_slow": row.latents.n_slow,
        "n_telling": row.latents.n_telling,
        "matched_share": row.latents.matched_share,
        "latents": columns,
    }


def quality_table(measured: Sequence[SaeQuality]) -> str:
    """The quality of each layer as a Markdown table. Figures without attention sinks, and with them in brackets."""
    lines = [
        "| layer | FVU | cross-entropy recovered | L0 | dead | always-on | max density | slow | tell documents apart "
        "| found by another seed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for layer, _baseline, sinks, row, latents in measured:
        matched = "" if latents.matched_share is None else f"{latents.matched_share:.0%}"
        lines.append(
            f"| {layer} | {row.fvu:.3f} ({sinks.fvu:.3f}) | {row.ce_recovered:.3f} ({sinks.ce_recovered:.3f}) "
            f"| {row.l0:.1f} | {row.dead_share:.1%} | {row.always_on} | {row.max_density:.2f} | {latents.n_slow} "
            f"| {latents.n_telling} | {matched} |"
        )
    return "\n".join(lines)
