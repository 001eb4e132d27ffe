"""`feature-tracker sae`: train a bundle's SAEs from text, tune and measure them."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
import torch

from feature_tracker.bundles.bundle import BUILT_IN, Bundle, load_bundle
from feature_tracker.cli.options import telling_errors
from feature_tracker.cli.progress import log_times
from feature_tracker.corpus.documents import text_files
from feature_tracker.corpus.harvest import collect_split, load_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing, require_writable
from feature_tracker.model.load import load_model
from feature_tracker.sae.load import check_writable, load_saes, save_sae
from feature_tracker.training.finetune import FinetuneConfig, finetune_sae
from feature_tracker.training.quality import measure_saes, quality_table
from feature_tracker.training.train import TrainConfig, stream_scale, train_sae

log = logging.getLogger(__name__)

_BUNDLE = click.option(
    "--bundle", "bundle_name", default=BUILT_IN, show_default=True,
    help="Model, layers and SAE folder: a shipped bundle's name or a TOML file.",
)  # fmt: skip
_TEXT = "a folder of .txt files, or a .jsonl(.gz) file with `text` and `split` in every line"
_FINANCE = click.option("--finance", required=True, type=Path, help=f"Finance text: {_TEXT}.")
_GENERAL = click.option("--general", type=Path, help=f"General text: {_TEXT}. Default: none.")
_WORK = click.option(
    "--work", default=Path("work"), type=Path, show_default=True,
    help="Folder of the activations, which are collected once and take gigabytes.",
)  # fmt: skip
_SEED = click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Seed of the order of the text, and of the weights that training starts from.",
)
_POSITIVE = click.IntRange(min=1)


@click.group()
def main() -> None:
    """Train, tune and measure a bundle's sparse autoencoders (SAEs).

    A command that was interrupted goes on where it stopped when you run it again.
    """
    log_times()


@main.command()
@_BUNDLE
@_FINANCE
@_GENERAL
@_WORK
@_SEED
@click.option("--tokens", default=3_700_000, show_default=True, type=_POSITIVE, help="Most tokens to train on.")
@click.option("--epochs", default=TrainConfig.epochs, show_default=True, help="Passes over these tokens.")
@click.option("--latents", default=TrainConfig.n_latents, show_default=True, help="Latents per layer.")
@click.option("--k", default=TrainConfig.k, show_default=True, help="Activations kept per token.")
@click.option("--again", is_flag=True, help="Also train the layers that have an SAE already.")
@telling_errors
def train(
    bundle_name: str, finance: Path, general: Path | None, work: Path, seed: int, tokens: int, epochs: float,
    latents: int, k: int, again: bool,
) -> None:  # fmt: skip
    """Train an SAE for every layer of a bundle.

    Reads the `train` split of the text (in a folder, nine of ten files), collects activations in --work and writes the
    SAEs to the bundle's SAE folder. Layers that have an SAE already keep it.
    """
    config = TrainConfig(n_latents=latents, k=k, epochs=epochs, seed=seed)
    bundle = load_bundle(bundle_name)
    check_writable(bundle.sae_folder, bundle.layers)
    _check_places(bundle, work, finance, general)
    harvest = collect_split(
        "train", bundle, load_model(bundle), finance=finance, general=general, work=work, seed=seed, max_tokens=tokens
    )
    for layer in bundle.layers:
        if (bundle.sae_folder / f"layers.{layer}" / "sae.safetensors").exists() and not again:
            trained = load_saes(bundle.sae_folder, [layer])[layer]
            log.info(
                "layer %d stays as it was trained, with %d latents and k = %d; --again trains it anew, with %d and %d",
                layer, trained.n_latents, trained.k, latents, k,
            )  # fmt: skip
            continue
        log.info("training layer %d with %s", layer, asdict(config))
        # Read whole: random rows of a mapped file are slow to read.
        save_sae(bundle.sae_folder, layer, train_sae(harvest.resid(layer).clone(), config))


@main.command()
@_BUNDLE
@_WORK
@_SEED
@click.option("--layer", "layers", type=int, multiple=True, help="Only this layer; may be given several times.")
@click.option(
    "--steps", default=FinetuneConfig.steps, show_default=True, type=_POSITIVE, help="Steps of four windows each."
)
@telling_errors
def finetune(bundle_name: str, work: Path, seed: int, layers: tuple[int, ...], steps: int) -> None:
    """Tune trained SAEs on the model's own predictions.

    Reads what `train` collected in --work, and replaces the SAEs in the bundle's SAE folder. Run it once: a second run
    tunes further.
    """
    bundle = load_bundle(bundle_name)
    tuned_layers = _chosen_layers(layers, bundle)
    check_writable(bundle.sae_folder, tuned_layers)
    harvest = load_harvest(work / "train")
    language_model = load_model(bundle)
    harvest.check_origin(Origin.from_bundle(bundle, language_model.d_model))
    saes = load_saes(bundle.sae_folder, tuned_layers, d_model=language_model.d_model)
    token_ids = torch.from_numpy(harvest.token_ids).long()
    config = FinetuneConfig(steps=steps, seed=seed)
    for layer, sae in saes.items():
        log.info("tuning layer %d", layer)
        scale = stream_scale(harvest.resid(layer), torch.Generator().manual_seed(seed)).scale
        save_sae(bundle.sae_folder, layer, finetune_sae(sae, layer, language_model, token_ids, scale, config))


@main.command()
@_BUNDLE
@_FINANCE
@_GENERAL
@_WORK
@_SEED
@click.option(
    "--windows", default=64, show_default=True, type=_POSITIVE, help="Windows on which cross-entropy is measured."
)
@telling_errors
def quality(bundle_name: str, finance: Path, general: Path | None, work: Path, seed: int, windows: int) -> None:
    """Measure a bundle's SAEs on held-out text.

    Reads the `validation` split of the text (in a folder, every tenth file) and collects activations in --work. Prints
    a table and writes quality.json to the bundle's SAE folder.
    """
    bundle = load_bundle(bundle_name)
    _check_places(bundle, work, finance, general)
    language_model = load_model(bundle)
    saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
    harvest = collect_split(
        "validation", bundle, language_model, finance=finance, general=general, work=work, seed=seed
    )
    measured = measure_saes(saes, harvest, language_model, windows=windows)
    rows = [row._asdict() for row in measured]
    with replacing(bundle.sae_folder / "quality.json") as beside:
        beside.write_text(json.dumps(rows, indent=2) + "\n")
    click.echo(quality_table(measured))


def _check_places(bundle: Bundle, work: Path, finance: Path, general: Path | None) -> None:
    """Refuse text that is not there and folders that can't be written, before a model is loaded and text is run."""
    text_files(finance)
    if general is not None:
        text_files(general)
    for folder, advice in (
        (work, "Name another folder with --work, or run the command from one that you may write to."),
        (bundle.sae_folder, "Name another as `sae_folder` in the bundle's TOML file, or make this one writable."),
    ):
        try:
            require_writable(folder)
        except TrackerError as error:
            raise TrackerError(f"{error} {advice}") from None


def _chosen_layers(layers: tuple[int, ...], bundle: Bundle) -> Sequence[int]:
    for layer in layers:
        if layer not in bundle.layers:
            raise TrackerError(f"--layer takes {', '.join(map(str, bundle.layers))} of this bundle; found {layer}.")
    return layers or bundle.layers
