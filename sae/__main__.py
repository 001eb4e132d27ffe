"""`python -m sae`: train a bundle's SAEs from text, and measure them."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

import click
import torch

from bundles.bundle import BUILT_IN, Bundle, load_bundle
from bundles.errors import TrackerError
from model.load import LanguageModel, load_model
from sae.corpus import mixed_windows
from sae.files import load_saes, save_sae
from sae.finetune import FinetuneConfig, finetune_sae
from sae.harvest import Harvest, continue_harvest, load_harvest, start_harvest
from sae.quality import measure_saes, quality_table
from sae.train import TrainConfig, stream_scale, train_sae

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
def train(
    bundle_name: str, finance: Path, general: Path | None, work: Path, seed: int, tokens: int, epochs: float,
    latents: int, k: int, again: bool,
) -> None:  # fmt: skip
    """Train an SAE for every layer of a bundle and write them to its SAE folder."""
    config = TrainConfig(n_latents=latents, k=k, epochs=epochs, seed=seed)
    try:
        bundle = load_bundle(bundle_name)
        harvest = harvest_split("train", bundle, finance, general, work, seed=seed, max_tokens=tokens)
        for layer in bundle.layers:
            if (bundle.sae_folder / f"layers.{layer}" / "sae.safetensors").exists() and not again:
                log.info("layer %d is trained already; --again trains it anew", layer)
                continue
            log.info("training layer %d with %s", layer, asdict(config))
            # Read whole: random rows of a mapped file are slow to come by.
            save_sae(bundle.sae_folder, layer, train_sae(harvest.resid(layer).clone(), config))
    except TrackerError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@_BUNDLE
@_WORK
@_SEED
@click.option("--layer", "layers", type=int, multiple=True, help="Only these; may be given several times.")
@click.option("--steps", default=FinetuneConfig.steps, show_default=True, help="Of four windows each.")
def finetune(bundle_name: str, work: Path, seed: int, layers: tuple[int, ...], steps: int) -> None:
    """Tune trained SAEs on the model's own predictions. Run it once: a second run tunes further."""
    try:
        bundle = load_bundle(bundle_name)
        language_model = load_model(bundle)
        saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
        if not (work / "train" / "progress.json").is_file():
            raise TrackerError(
                f"No activations in {work / 'train'}: run python -m sae train first, with --work {work}."
            )
        harvest = load_harvest(work / "train")
        token_ids = torch.from_numpy(harvest.token_ids).long()
        for layer in layers or bundle.layers:
            log.info("tuning layer %d", layer)
            _, scale = stream_scale(harvest.resid(layer), torch.Generator().manual_seed(seed))
            config = FinetuneConfig(steps=steps, seed=seed)
            tuned = finetune_sae(saes[layer], layer, language_model, token_ids, scale, config)
            save_sae(bundle.sae_folder, layer, tuned)
    except TrackerError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@_BUNDLE
@_FINANCE
@_GENERAL
@_WORK
@_SEED
@click.option("--windows", default=64, show_default=True, help="Windows on which cross-entropy is measured.")
def quality(bundle_name: str, finance: Path, general: Path | None, work: Path, seed: int, windows: int) -> None:
    """Measure a bundle's SAEs on `validation` text; print the table and write quality.json beside the weights."""
    try:
        bundle = load_bundle(bundle_name)
        language_model = load_model(bundle)
        saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
        harvest = harvest_split("validation", bundle, finance, general, work, seed=seed)
        measured = measure_saes(saes, harvest, language_model, windows=windows)
    except TrackerError as error:
        raise click.ClickException(str(error)) from None
    rows = [row._asdict() for row in measured]
    (bundle.sae_folder / "quality.json").write_text(json.dumps(rows, indent=2) + "\n")
    click.echo(quality_table(measured))


def harvest_split(
    split: str,
    bundle: Bundle,
    finance: Path,
    general: Path | None,
    work: Path,
    *,
    seed: int,
    max_tokens: int | None = None,
) -> Harvest:
    """The residual streams of one split of the text, collected where they don't lie in `work` yet."""
    language_model: LanguageModel = load_model(bundle)
    window = language_model.window(TRAIN_WINDOW if split == "train" else bundle.window)
    if not (work / split / "progress.json").exists():
        token_ids, is_finance = mixed_windows(
            finance, general, language_model.tokenizer, split=split, window=window, seed=seed
        )
        n_windows = len(token_ids) if max_tokens is None else max(1, max_tokens // (window - 1))
        start_harvest(
            work / split, token_ids[:n_windows], is_finance[:n_windows], layers=bundle.layers,
            d_model=language_model.d_model,
        )  # fmt: skip
    return continue_harvest(work / split, language_model.decoder, batch=max(1, 2048 // window))


if __name__ == "__main__":
    main()
