"""Make a bundle's SAEs from a harvest: train them with two seeds, tune the first seed's, and put them in their place.

Everything is made in a folder of work, a layer at a time, so that an interrupted run goes on where it stopped, and the
bundle keeps its SAEs until the last new one is done:

- `trained/layers.N` and `twin/layers.N`: the SAEs of the seed and of the next one, which shows what another seed finds.
- `tuned/layers.N`: those with slow latents after tuning.
- `options.json`: what they were made with. Other options are refused.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.corpus.harvest import Harvest
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.model.blocks import blocks_of
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.load import load_saes, save_sae
from feature_tracker.sae.topk import Sae
from feature_tracker.training.finetune import FinetuneConfig, finetune_sae
from feature_tracker.training.scaled import stream_scale
from feature_tracker.training.train import TrainConfig, TrainingRows, train_sae

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MakeConfig:
    """How a bundle's SAEs are made.

    Attributes:
        plain: training of the layers in the lower half of the model, where slow latents find little.
        slow: training of the layers in the upper half.
        tune: of the layers with slow latents, whose second task costs predictions; `None` leaves them as trained.
    """

    plain: TrainConfig
    slow: TrainConfig
    tune: FinetuneConfig | None

    def of_layer(self, layer: int, n_blocks: int) -> TrainConfig:
        """How one 0-based layer of a model of so many blocks is trained."""
        if layer < n_blocks / 2:
            return self.plain
        # In the built-in model, a reach of 12 tokens gave more slow latents at layer 16 of 30 than 24 did (dev/LOG.md).
        return replace(self.slow, slow_reach=12) if layer < n_blocks * 2 / 3 else self.slow


def make_saes(bundle: Bundle, language_model: LanguageModel, harvest: Harvest, work: Path, config: MakeConfig) -> None:
    """Make the SAEs of a bundle's layers and write them to its SAE folder.

    Raises:
        TrackerError: the folder of work holds SAEs that were made otherwise, or a folder can't be written.
    """
    _check_options(work / "options.json", {"harvest": asdict(harvest.origin), "config": asdict(config)})
    n_blocks = len(blocks_of(language_model.decoder))
    for layer in bundle.layers:
        _train_layer(layer, harvest, work, config.of_layer(layer, n_blocks))
    made = {layer: _made(layer, harvest, language_model, work, config) for layer in bundle.layers}
    for layer, sae in made.items():
        save_sae(bundle.sae_folder, layer, sae)


def _made(layer: int, harvest: Harvest, language_model: LanguageModel, work: Path, config: MakeConfig) -> Sae:
    """A layer's SAE of the first seed, tuned where it has slow latents."""
    trained = load_saes(work / "trained", [layer])[layer]
    if config.tune is None or trained.selection is None:
        return trained
    if _missing(work / "tuned", [layer]):
        log.info("tuning layer %d", layer)
        resid = harvest.resid(layer)
        scale = stream_scale(resid, torch.ones(len(resid), dtype=torch.bool), seed=config.tune.seed).scale
        token_ids = torch.from_numpy(harvest.token_ids).long()
        tuned = finetune_sae(trained, layer, language_model, token_ids, scale, config.tune)
        save_sae(work / "tuned", layer, tuned)
    return load_saes(work / "tuned", [layer])[layer]


def _train_layer(layer: int, harvest: Harvest, work: Path, config: TrainConfig) -> None:
    """Train a layer with both seeds, unless that is done."""
    folders = {"trained": config, "twin": replace(config, seed=config.seed + 1)}
    missing = {name: seeded for name, seeded in folders.items() if _missing(work / name, [layer])}
    if not missing:
        return
    # Read whole: random rows of a mapped file are slow to read.
    rows = TrainingRows.from_resid(harvest.resid(layer).clone(), harvest.token_ids.shape[1] - 1)
    for name, seeded in missing.items():
        log.info("training layer %d with %s", layer, seeded)
        checkpoint = work / name / f"layers.{layer}.checkpoint"
        save_sae(work / name, layer, train_sae(rows, seeded, checkpoint=checkpoint))


def _missing(folder: Path, layers: Sequence[int]) -> list[int]:
    """The layers that have no SAE in a folder of `save_sae`'s."""
    return [layer for layer in layers if not (folder / f"layers.{layer}").exists()]


def _check_options(path: Path, options: dict[str, Any]) -> None:
    """Write down what a folder of work is made with, or refuse one that was made otherwise."""
    text = json.dumps(options, indent=2)
    if path.exists():
        if path.read_text(encoding="utf-8") != text:
            raise TrackerError(
                f"{path.parent} holds SAEs that were made with other options or from other activations; {path.name} "
                "there lists them. Give the same options to go on, name another folder with --work, or delete this one."
            )
        return
    with replacing(path) as beside:
        beside.write_text(text, encoding="utf-8")
