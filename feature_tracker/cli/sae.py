"""`feature-tracker sae`: train a bundle's SAEs from text, and measure them."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import click
import torch

from feature_tracker.bundles.bundle import BUILT_IN, Bundle, load_bundle
from feature_tracker.cli.options import telling_errors
from feature_tracker.corpus.documents import mixed_windows, named_with_size
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.model.load import LanguageModel, load_model
from feature_tracker.sae.load import check_writable, load_saes, save_sae
from feature_tracker.training.finetune import FinetuneConfig, finetune_sae
from feature_tracker.training.harvest import Harvest, continue_harvest, load_harvest, start_harvest
from feature_tracker.training.origin import Origin
from feature_tracker.training.quality import measure_saes, quality_table
from feature_tracker.training.train import TrainConfig, stream_scale, train_sae

log = logging.getLogger(__name__)

TRAIN_WINDOW = 256
"""Tokens a training window, BOS included: on two cores a forward of 8 x 256 is the fastest a token."""

_BUNDLE = click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Which model and layers.")
_FINANCE = click.option(
    "--finance", required=True, type=Path, help="Finance text: a folder of .txt files, or a .jsonl(.gz) file."
)
_GENERAL = click.option("--general", type=Path, help="General text of the same kinds; may be left out.")
_WORK = click.option(
    "--work", default=Path("work"), type=Path, show_default=True, help="Where activations lie between runs (large)."
)
_SEED = click.option("--seed", default=0, show_default=True, help="Of the order of the text and of the first weights.")


@click.group()
def main() -> None:
    """Train and measure sparse autoencoders. An interrupted command goes on where it stood when it is run again."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


@main.command()
@_BUNDLE
@_FINANCE
@_GENERAL
@_WORK
@_SEED
@click.option("--tokens", default=3_700_000, show_default=True, help="Train on at most so many tokens.")
@click.option("--epochs", default=TrainConfig.epochs, show_default=True, help="Passes over them.")
@click.option("--latents", default=TrainConfig.n_latents, show_default=True, help="Latents a layer.")
@click.option("--k", default=TrainConfig.k, show_default=True, help="Activations kept a token.")
@click.option("--again", is_flag=True, help="Train layers anew that are trained already.")
@telling_errors
def train(
    bundle_name: str, finance: Path, general: Path | None, work: Path, seed: int, tokens: int, epochs: float,
    latents: int, k: int, again: bool,
) -> None:  # fmt: skip
    """Train an SAE for every layer of a bundle and write them to its SAE folder."""
    config = TrainConfig(n_latents=latents, k=k, epochs=epochs, seed=seed)
    bundle = load_bundle(bundle_name)
    check_writable(bundle.sae_folder, bundle.layers)
    harvest = harvest_split("train", bundle, finance, general, work, load_model(bundle), seed=seed, max_tokens=tokens)
    for layer in bundle.layers:
        if (bundle.sae_folder / f"layers.{layer}" / "sae.safetensors").exists() and not again:
            there = load_saes(bundle.sae_folder, [layer])[layer]
            log.info(
                "layer %d stays as it was trained, with %d latents and k = %d; --again trains it anew, with %d and %d",
                layer, there.n_latents, there.k, latents, k,
            )  # fmt: skip
            continue
        log.info("training layer %d with %s", layer, asdict(config))
        # Read whole: random rows of a mapped file are slow to come by.
        save_sae(bundle.sae_folder, layer, train_sae(harvest.resid(layer).clone(), config))


@main.command()
@_BUNDLE
@_WORK
@_SEED
@click.option("--layer", "layers", type=int, multiple=True, help="Only these; may be given several times.")
@click.option("--steps", default=FinetuneConfig.steps, show_default=True, help="Of four windows each.")
@telling_errors
def finetune(bundle_name: str, work: Path, seed: int, layers: tuple[int, ...], steps: int) -> None:
    """Tune trained SAEs on the model's own predictions. Run it once: a second run tunes further."""
    bundle = load_bundle(bundle_name)
    wanted = layers or bundle.layers
    for layer in wanted:
        if layer not in bundle.layers:
            raise TrackerError(f"--layer takes {', '.join(map(str, bundle.layers))} of this bundle; found {layer}.")
    check_writable(bundle.sae_folder, wanted)
    harvest = load_harvest(work / "train")
    language_model = load_model(bundle)
    Origin.of_bundle(bundle, language_model.d_model).check(harvest.origin, harvest.folder)
    saes = load_saes(bundle.sae_folder, wanted, d_model=language_model.d_model)
    token_ids = torch.from_numpy(harvest.token_ids).long()
    config = FinetuneConfig(steps=steps, seed=seed)
    for layer, sae in saes.items():
        log.info("tuning layer %d", layer)
        _, scale = stream_scale(harvest.resid(layer), torch.Generator().manual_seed(seed))
        save_sae(bundle.sae_folder, layer, finetune_sae(sae, layer, language_model, token_ids, scale, config))


@main.command()
@_BUNDLE
@_FINANCE
@_GENERAL
@_WORK
@_SEED
@click.option("--windows", default=64, show_default=True, help="Windows on which cross-entropy is measured.")
@telling_errors
def quality(bundle_name: str, finance: Path, general: Path | None, work: Path, seed: int, windows: int) -> None:
    """Measure a bundle's SAEs on `validation` text; print the table and write quality.json beside the weights."""
    bundle = load_bundle(bundle_name)
    language_model = load_model(bundle)
    saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
    harvest = harvest_split("validation", bundle, finance, general, work, language_model, seed=seed)
    measured = measure_saes(saes, harvest, language_model, windows=windows)
    rows = [row._asdict() for row in measured]
    with replacing(bundle.sae_folder / "quality.json") as beside:
        beside.write_text(json.dumps(rows, indent=2) + "\n")
    click.echo(quality_table(measured))


def harvest_split(
    split: str,
    bundle: Bundle,
    finance: Path,
    general: Path | None,
    work: Path,
    language_model: LanguageModel,
    *,
    seed: int,
    max_tokens: int | None = None,
) -> Harvest:
    """The residual streams of one split of the text, collected where they don't lie in `work` yet.

    Raises:
        TrackerError: what lies there was collected from something else.
    """
    folder = work / split
    window = language_model.window(TRAIN_WINDOW if split == "train" else bundle.window)
    texts = [finance] if general is None else [finance, general]
    origin = replace(
        Origin.of_bundle(bundle, language_model.d_model),
        text=tuple(named_with_size(path) for path in texts), window=window, seed=seed, max_tokens=max_tokens,
    )  # fmt: skip
    if (folder / "progress.json").exists():
        origin.check(load_harvest(folder).origin, folder)
    else:
        token_ids, is_finance = mixed_windows(
            finance, general, language_model.tokenizer, split=split, window=window, seed=seed
        )
        n_windows = len(token_ids) if max_tokens is None else max(1, max_tokens // (window - 1))
        start_harvest(folder, token_ids[:n_windows], is_finance[:n_windows], origin)
    return continue_harvest(folder, language_model, batch=max(1, 2048 // window))
