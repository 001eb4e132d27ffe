"""`python -m labels`: label a bundle's features from text, check the labels, report on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd

from bundles.bundle import BUILT_IN, load_bundle
from bundles.errors import TrackerError
from bundles.options import telling_errors
from labels.check_command import check_table_file
from labels.collected import Collected, load_collected
from labels.import_command import import_labels
from labels.label_layer import label_layers, log_times, reword_layer, score_rule
from labels.learn import LearnConfig
from labels.lexicon import lexicon_path, load_lexicon, save_lexicon
from labels.make_lexicon import LexiconConfig, make_lexicon
from labels.measure_command import measure
from labels.report import report_table
from labels.rules import rule_from_json
from labels.table import KEYS, LabelTable, latents_of, load_labels, replace_table, replacing
from labels.trials import run_trials
from sae.files import load_saes

_BUNDLE = click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Whose features.")
_WORK = click.option(
    "--work", default=Path("work"), type=Path, show_default=True,
    help="Holds the activations that `python -m sae train` and `python -m sae quality` collected.",
)  # fmt: skip
_SAMPLE = click.option("--sample", default=1000, show_default=True, help="Firing tokens scored, and as many silent.")
_SEED = click.option("--seed", default=0, show_default=True, help="Of the samples.")
_WINDOWS = click.option("--windows", default=6000, show_default=True, help="Training windows to learn from.")


def _on_collected(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that reads collected activations."""
    for option in (_WINDOWS, _SEED, _SAMPLE, _WORK, _BUNDLE):
        command = option(command)
    return command


@click.group()
def main() -> None:
    """Label features without a language model, and measure the labels on held-out text."""
    log_times()


@main.command()
@_on_collected
@click.option("--jobs", default=os.cpu_count() or 1, show_default="one a core", help="Layers labelled at a time.")
@telling_errors
def make(bundle_name: str, work: Path, sample: int, seed: int, windows: int, jobs: int) -> None:
    """Learn every feature's label on `train`, score it on `validation`, write the bundle's label table and lexicon."""
    bundle = load_bundle(bundle_name)
    collected = load_collected(bundle, work, windows)
    train = [firings.train for firings in collected.layers.values()]
    lexicon = make_lexicon(train, collected.texts, collected.bos_id, LexiconConfig(seed=seed))
    frame = label_layers(collected.layers, lexicon, LearnConfig(), sample=sample, seed=seed, jobs=jobs)
    with replacing(lexicon_path(bundle.labels)) as beside:
        save_lexicon(lexicon, beside)
        table = replace_table(
            LabelTable(frame.set_index(KEYS).assign(bundle=bundle.name)), bundle.labels, _latents(collected)
        )
    click.echo(report_table(table))


@main.command()
@_BUNDLE
@telling_errors
def report(bundle_name: str) -> None:
    """Print the label table's F1 by layer: median, share above a judge who always says yes, histogram."""
    bundle = load_bundle(bundle_name)
    saes = load_saes(bundle.sae_folder, bundle.layers)
    table = load_labels(bundle.labels, latents_of(saes), bundle)
    click.echo(report_table(table))


@main.command()
@_on_collected
@telling_errors
def rescore(bundle_name: str, work: Path, sample: int, seed: int, windows: int) -> None:
    """Score the table's rules anew on `validation`, on a sample of this seed, and compare with the F1 in the table."""
    bundle = load_bundle(bundle_name)
    collected = load_collected(bundle, work, windows)
    table = load_labels(bundle.labels, _latents(collected), bundle)
    lexicon = load_lexicon(lexicon_path(bundle.labels), collected.texts, collected.bos_id)
    for layer, own in table.frame.groupby("layer"):
        firings, rows = collected.layers[int(str(layer))], own.droplevel("layer")
        rules = {int(str(i)): rule_from_json(rule) for i, rule in rows["rule"].items() if rule}
        scores = {i: score_rule(rule, firings.held_out, i, lexicon, sample, seed) for i, rule in rules.items()}
        again = pd.Series({i: found.f1 for i, found in scores.items()})
        gap = (again - rows["f1"]).abs()
        click.echo(
            f"layer {layer}: median F1 {again.median():.3f} anew, {rows['f1'].median():.3f} in the table; "
            f"largest difference of a feature {gap.max():.3f}"
        )


@main.command()
@_BUNDLE
@_WORK
@_WINDOWS
@telling_errors
def reword(bundle_name: str, work: Path, windows: int) -> None:
    """Choose anew which words of each family the table's labels show; rules and scores stay."""
    bundle = load_bundle(bundle_name)
    collected = load_collected(bundle, work, windows)
    table = load_labels(bundle.labels, _latents(collected), bundle)
    if table.left_out:
        raise TrackerError(f"{bundle.labels} has rows of layers that are not chosen, which would be lost. Choose all.")
    lexicon = load_lexicon(lexicon_path(bundle.labels), collected.texts, collected.bos_id)
    layers = {}
    for layer, rows in table.frame.groupby("layer"):
        firings = collected.layers[int(str(layer))]
        layers[layer], before, after = reword_layer(rows.droplevel("layer"), firings, lexicon)
        click.echo(
            f"layer {layer}: on held-out text features fire on {before:.1%} of the words of families that their labels "
            f"showed, on {after:.1%} of those they show now"
        )
    replace_table(LabelTable(pd.concat(layers, names=KEYS)), bundle.labels, _latents(collected))


@main.command()
@_on_collected
@click.option("--features", default=40, show_default=True, help="Features of each layer that are tried.")
@click.option("--families", multiple=True, type=int, help="Make a lexicon of so many families and try it, too.")
@telling_errors
def trials(
    bundle_name: str, work: Path, sample: int, seed: int, windows: int, features: int, families: tuple[int, ...]
) -> None:
    """Try shorter rules, rules that look at less, and other lexicons on some features of each layer; write nothing."""
    bundle = load_bundle(bundle_name)
    collected = load_collected(bundle, work, windows)
    lexicon = load_lexicon(lexicon_path(bundle.labels), collected.texts, collected.bos_id)
    lines = run_trials(collected, lexicon, families=families, features=features, sample=sample, seed=seed)
    for line in lines:
        click.echo(line)


def _latents(collected: Collected) -> dict[int, int]:
    return {layer: firings.train.n_latents for layer, firings in collected.layers.items()}


main.add_command(check_table_file)
main.add_command(import_labels)
main.add_command(measure)

if __name__ == "__main__":
    main()
