"""`feature-tracker sae`: train a bundle's SAEs from text, tune and measure them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from feature_tracker.bundles.bundle import BUILT_IN, Bundle, load_bundle
from feature_tracker.cli.options import telling_errors
from feature_tracker.cli.progress import log_times, terminal_progress
from feature_tracker.corpus.documents import text_files
from feature_tracker.corpus.harvest import collect_split
from feature_tracker.errors import TrackerError
from feature_tracker.files import require_writable
from feature_tracker.model.load import load_model
from feature_tracker.sae.load import check_writable, load_bundle_saes, load_saes, starts_with_bos
from feature_tracker.sae.topk import Sae
from feature_tracker.training.finetune import FinetuneConfig
from feature_tracker.training.make import MakeConfig, make_saes
from feature_tracker.training.probe_texts import load_tasks
from feature_tracker.training.probing import probe_saes, probe_table
from feature_tracker.training.quality import measure_saes, quality_table, save_quality
from feature_tracker.training.train import TrainConfig

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
@click.option("--tokens", default=3_000_000, show_default=True, type=_POSITIVE, help="Most tokens to train on.")
@click.option("--epochs", default=TrainConfig.epochs, show_default=True, help="Passes over these tokens.")
@click.option("--latents", default=TrainConfig.n_latents, show_default=True, help="Latents per layer.")
@click.option("--k", default=TrainConfig.k, show_default=True, help="Activations kept per token.")
@click.option(
    "--slow", type=click.IntRange(min=0), help="Slow latents per layer in the model's upper half.  [default: a fifth]"
)
@click.option(
    "--tune",
    default=FinetuneConfig.steps,
    show_default=True,
    type=click.IntRange(min=0),
    help="Steps of tuning the layers with slow latents.",
)
@click.option("--replace", is_flag=True, help="Replace the SAEs that the bundle has.")
@telling_errors
def train(
    bundle_name: str, finance: Path, general: Path | None, work: Path, seed: int, tokens: int, epochs: float,
    latents: int, k: int, slow: int | None, tune: int, replace: bool,
) -> None:  # fmt: skip
    """Train an SAE for every layer of a bundle.

    Reads the `train` split of the text (in a folder, nine of ten files), collects activations in --work, trains every
    layer with two seeds, tunes the first seed's SAEs on the model's own predictions, and writes them to the bundle's
    SAE folder when all are done.
    """
    bundle = load_bundle(bundle_name)
    check_writable(bundle.sae_folder, bundle.layers)
    if not replace:
        _check_no_saes(bundle)
    _check_places(bundle, work, finance, general)
    plain = TrainConfig(n_latents=latents, k=k, epochs=epochs, seed=seed)
    config = MakeConfig(
        plain=plain,
        slow=dataclasses.replace(plain, n_slow=latents // 5 if slow is None else slow),
        tune=FinetuneConfig(steps=tune, seed=seed) if tune else None,
    )
    language_model = load_model(bundle)
    harvest = collect_split(
        "train", bundle, language_model, finance=finance, general=general, work=work, seed=seed, max_tokens=tokens
    )
    make_saes(bundle, language_model, harvest, work / "saes", config)


@main.command()
@_BUNDLE
@_FINANCE
@_GENERAL
@_WORK
@_SEED
@click.option(
    "--windows", default=64, show_default=True, type=_POSITIVE, help="Windows on which cross-entropy is measured."
)
@click.option("--probe", is_flag=True, help="Also probe them on the labelled texts of the package sae-probes.")
@click.option("--beside", type=Path, help="Folder of other SAEs of the same layers, to probe beside these.")
@telling_errors
def quality(
    bundle_name: str, finance: Path, general: Path | None, work: Path, seed: int, windows: int, probe: bool,
    beside: Path | None,
) -> None:  # fmt: skip
    """Measure a bundle's SAEs on held-out text.

    Reads the `validation` split of the text (in a folder, every tenth file) and collects activations in --work. Prints
    a table and writes quality.json to the bundle's SAE folder.
    """
    bundle = load_bundle(bundle_name)
    _check_places(bundle, work, finance, general)
    language_model = load_model(bundle)
    saes = load_bundle_saes(bundle, d_model=language_model.d_model, layer_norm=language_model.layer_norm)
    bundle = dataclasses.replace(bundle, prepend_bos=starts_with_bos(bundle, saes))
    language_model = dataclasses.replace(language_model, prepend_bos=starts_with_bos(bundle, saes))
    harvest = collect_split(
        "validation", bundle, language_model, finance=finance, general=general, work=work, seed=seed
    )
    sets = {"these": saes}
    if beside is not None:
        sets[str(beside)] = load_saes(beside, bundle.layers, layer_norm=language_model.layer_norm)
    tasks = load_tasks(seed=seed) if probe else []
    measured = measure_saes(saes, harvest, language_model, twins=_twins(work, bundle), windows=windows)
    save_quality(bundle.sae_folder / "quality.json", measured)
    click.echo(quality_table(measured))
    if probe:
        with terminal_progress("Probing") as progress:
            scores = probe_saes(
                language_model, sets, tasks, window=language_model.window(bundle.window), progress=progress
            )
        click.echo("\n" + probe_table(scores, "layer"))


def _twins(work: Path, bundle: Bundle) -> dict[int, Sae]:
    """The SAEs of another seed, where `train` left them in the folder of work."""
    folder = work / "saes" / "twin"
    present = [layer for layer in bundle.layers if (folder / f"layers.{layer}").exists()]
    return load_saes(folder, present)


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


def _check_no_saes(bundle: Bundle) -> None:
    present = [layer for layer in bundle.layers if (bundle.sae_folder / f"layers.{layer}").exists()]
    if present:
        raise TrackerError(
            f"{bundle.sae_folder} already holds SAEs of layers {', '.join(map(str, present))}, and labels are tied to "
            "them. Replace them with --replace, or name another folder as the bundle's sae_folder."
        )
