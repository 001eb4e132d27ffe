"""The sub-commands of `feature-tracker labels` that label features by rules."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click
import pandas as pd

from feature_tracker.bundles.bundle import BUILT_IN, load_bundle
from feature_tracker.cli.options import telling_errors
from feature_tracker.errors import TrackerError
from feature_tracker.files import replacing
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.csv_files import load_labels, replace_table
from feature_tracker.labels.report import report_table
from feature_tracker.labels.table import LabelTable
from feature_tracker.rule_labels.corpus_firings import CorpusFirings, load_corpus_firings
from feature_tracker.rule_labels.label_layer import label_layers, reword_layer, score_rule
from feature_tracker.rule_labels.learn import LearnConfig
from feature_tracker.rule_labels.lexicon import lexicon_path, load_lexicon, save_lexicon
from feature_tracker.rule_labels.make_lexicon import LexiconConfig, make_lexicon
from feature_tracker.rule_labels.rules import rule_from_json
from feature_tracker.rule_labels.trials import run_trials

_BUNDLE = click.option(
    "--bundle",
    "bundle_name",
    default=BUILT_IN,
    show_default=True,
    help="The labels' bundle: a shipped one's name or a TOML file.",
)
_WORK = click.option(
    "--work", default=Path("work"), type=Path, show_default=True,
    help="Folder of the activations that `feature-tracker sae train` and `feature-tracker sae quality` collected.",
)  # fmt: skip
_SAMPLE = click.option(
    "--sample", default=1000, show_default=True, help="Firing tokens to score a label on, and as many silent ones."
)
_SEED = click.option("--seed", default=0, show_default=True, help="Seed of the samples.")
_WINDOWS = click.option("--windows", default=6000, show_default=True, help="Training windows to learn from.")


def _on_corpus_firings(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that reads collected activations."""
    for option in (_WINDOWS, _SEED, _SAMPLE, _WORK, _BUNDLE):
        command = option(command)
    return command


@click.command()
@_on_corpus_firings
@click.option("--jobs", default=os.cpu_count() or 1, show_default="one per core", help="Layers to label at a time.")
@telling_errors
def make(bundle_name: str, work: Path, sample: int, seed: int, windows: int, jobs: int) -> None:
    """Label a bundle's features by rules.

    Learns each label on the `train` activations in --work and scores it on those of `validation`. Writes the bundle's
    label table and its lexicon, and prints how well the labels score.
    """
    bundle = load_bundle(bundle_name)
    corpus = load_corpus_firings(bundle, work, windows)
    train = [firings.train for firings in corpus.layers.values()]
    lexicon = make_lexicon(train, corpus.texts, corpus.bos_id, LexiconConfig(seed=seed))
    frame = label_layers(corpus.layers, lexicon, LearnConfig(), sample=sample, seed=seed, jobs=jobs)
    with replacing(lexicon_path(bundle.labels)) as beside:
        save_lexicon(lexicon, beside)
        table = replace_table(
            LabelTable(frame.set_index(KEYS).assign(bundle=bundle.name)), bundle.labels, _latents(corpus)
        )
    click.echo(report_table(table))


@click.command()
@_on_corpus_firings
@telling_errors
def rescore(bundle_name: str, work: Path, sample: int, seed: int, windows: int) -> None:
    """Score a table's rules again, on another sample.

    Reads the bundle's label table and lexicon, and the activations in --work. Prints the F1 on this sample beside those
    in the table, and writes nothing.
    """
    bundle = load_bundle(bundle_name)
    corpus = load_corpus_firings(bundle, work, windows)
    table = load_labels(bundle.labels, _latents(corpus), bundle)
    lexicon = load_lexicon(lexicon_path(bundle.labels), corpus.texts, corpus.bos_id)
    for layer, layer_rows in table.frame.groupby("layer"):
        firings, rows = corpus.layers[int(str(layer))], layer_rows.droplevel("layer")
        rules = {int(str(i)): rule_from_json(rule) for i, rule in rows["rule"].items() if rule}
        scores = {i: score_rule(rule, firings.held_out, i, lexicon, sample, seed) for i, rule in rules.items()}
        again = pd.Series({i: score.f1 for i, score in scores.items()})
        gap = (again - rows["f1"]).abs()
        click.echo(
            f"layer {layer}: median F1 {again.median():.3f} anew, {rows['f1'].median():.3f} in the table; "
            f"largest difference of a feature {gap.max():.3f}"
        )


@click.command()
@_BUNDLE
@_WORK
@_WINDOWS
@telling_errors
def reword(bundle_name: str, work: Path, windows: int) -> None:
    """Choose again which words of each family a table's labels show.

    Reads the activations in --work, and writes the bundle's label table; rules and scores stay as they are.
    """
    bundle = load_bundle(bundle_name)
    corpus = load_corpus_firings(bundle, work, windows)
    table = load_labels(bundle.labels, _latents(corpus), bundle)
    if table.left_out:
        raise TrackerError(f"{bundle.labels} has rows of layers that are not chosen, which would be lost. Choose all.")
    lexicon = load_lexicon(lexicon_path(bundle.labels), corpus.texts, corpus.bos_id)
    layers = {}
    for layer, rows in table.frame.groupby("layer"):
        firings = corpus.layers[int(str(layer))]
        layers[layer], before, after = reword_layer(rows.droplevel("layer"), firings, lexicon)
        click.echo(
            f"layer {layer}: on held-out text features fire on {before:.1%} of the words of families that their labels "
            f"showed, on {after:.1%} of those they show now"
        )
    replace_table(LabelTable(pd.concat(layers, names=KEYS)), bundle.labels, _latents(corpus))


@click.command()
@_on_corpus_firings
@click.option("--features", default=40, show_default=True, help="Features per layer to try.")
@click.option(
    "--families", multiple=True, type=int, help="Also try a lexicon of this many families; may be given several times."
)
@telling_errors
def trials(
    bundle_name: str, work: Path, sample: int, seed: int, windows: int, features: int, families: tuple[int, ...]
) -> None:
    """Try shorter rules, rules that look at less, and other lexicons on some features.

    Reads the activations in --work and the bundle's lexicon. Prints the scores, and writes nothing.
    """
    bundle = load_bundle(bundle_name)
    corpus = load_corpus_firings(bundle, work, windows)
    lexicon = load_lexicon(lexicon_path(bundle.labels), corpus.texts, corpus.bos_id)
    lines = run_trials(corpus, lexicon, families=families, features=features, sample=sample, seed=seed)
    for line in lines:
        click.echo(line)


def _latents(corpus: CorpusFirings) -> dict[int, int]:
    return {layer: firings.train.n_latents for layer, firings in corpus.layers.items()}


COMMANDS = (make, rescore, reword, trials)
