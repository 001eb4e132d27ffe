"""`python -m labels`: label a bundle's features from text, check the labels, report on them."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import click
import numpy as np
import pandas as pd

from bundles.bundle import BUILT_IN, Bundle, load_bundle
from bundles.errors import TrackerError
from labels.check_command import check_table_file
from labels.firings import Firings, encode_harvest
from labels.import_command import import_labels
from labels.learn import LearnConfig, count_words, learn_rule
from labels.measure_command import measure
from labels.report import report_table
from labels.rules import Contexts, Rule, rule_from_json, rule_to_json
from labels.score import NOT_SCORED, Score, balanced_sample, score
from labels.statistics import feature_statistics
from labels.table import KEYS, LabelTable, load_labels, save_labels
from labels.token_sets import TokenSets, build_token_sets, firing_profiles, load_token_sets, save_token_sets
from labels.wording import word_rule
from model.load import load_model
from sae.files import load_saes
from sae.harvest import load_harvest

log = logging.getLogger(__name__)

METHOD = "lexical"
"""How the F1 in the table comes about: a program applies the rule that the label words."""

_BUNDLE = click.option("--bundle", "bundle_name", default=BUILT_IN, show_default=True, help="Whose features.")
_WORK = click.option(
    "--work", default=Path("work"), type=Path, show_default=True,
    help="Holds the activations that `python -m sae train` and `python -m sae quality` collected.",
)  # fmt: skip
_SAMPLE = click.option("--sample", default=1000, show_default=True, help="Firing tokens scored, and as many silent.")
_SEED = click.option("--seed", default=0, show_default=True, help="Of the samples.")


@click.group()
def main() -> None:
    """Label features without a language model, and measure the labels on held-out text."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


@main.command()
@_BUNDLE
@_WORK
@_SAMPLE
@_SEED
@click.option("--windows", default=6000, show_default=True, help="Training windows that labels are learnt from.")
def make(bundle_name: str, work: Path, sample: int, seed: int, windows: int) -> None:
    """Learn every feature's label on `train`, score it on `validation`, write the bundle's label table."""
    try:
        bundle = load_bundle(bundle_name)
        train, texts, bos_id = _firings(bundle, work, "train", windows)
        held_out, _, _ = _firings(bundle, work, "validation", None)
        sets = _token_sets(train, texts, bos_id, seed)
        save_token_sets(sets, groups_path(bundle))
        frames = [_label_layer(layer, train[layer], held_out[layer], sets, sample, seed) for layer in bundle.layers]
        save_labels(LabelTable(pd.concat(frames).set_index(KEYS)), bundle.labels)
        n_latents = train[bundle.layers[0]].n_latents
        table = load_labels(bundle.labels, layers=bundle.layers, n_latents=n_latents)
    except TrackerError as error:
        raise click.ClickException(str(error)) from None
    click.echo(report_table(table))


@main.command()
@_BUNDLE
def report(bundle_name: str) -> None:
    """Print the label table's F1 by layer: median, share above a judge who always says yes, histogram."""
    try:
        bundle = load_bundle(bundle_name)
        saes = load_saes(bundle.sae_folder, bundle.layers)
        table = load_labels(bundle.labels, layers=bundle.layers, n_latents=saes[bundle.layers[0]].n_latents)
    except TrackerError as error:
        raise click.ClickException(str(error)) from None
    click.echo(report_table(table))


@main.command()
@_BUNDLE
@_WORK
@_SAMPLE
@_SEED
def rescore(bundle_name: str, work: Path, sample: int, seed: int) -> None:
    """Score the table's rules anew on `validation`, on a sample of this seed, and compare with the F1 in the table."""
    try:
        bundle = load_bundle(bundle_name)
        firings, texts, bos_id = _firings(bundle, work, "validation", None)
        table = load_labels(bundle.labels, layers=bundle.layers, n_latents=firings[bundle.layers[0]].n_latents)
        sets = load_token_sets(groups_path(bundle), texts, bos_id)
        for layer in bundle.layers:
            rows = table.frame.loc[layer]
            rules = {int(str(i)): rule_from_json(rule) for i, rule in rows["rule"].items() if rule}
            again = pd.Series({i: score_rule(r, firings[layer], i, sets, sample, seed).f1 for i, r in rules.items()})
            gap = (again - rows["f1"]).abs()
            click.echo(
                f"layer {layer}: median F1 {again.median():.3f} anew, {rows['f1'].median():.3f} in the table; "
                f"largest difference of a feature {gap.max():.3f}"
            )
    except TrackerError as error:
        raise click.ClickException(str(error)) from None


def groups_path(bundle: Bundle) -> Path:
    """Where the groups of tokens lie that a bundle's rules speak of."""
    return bundle.labels.with_suffix(".groups.json")


def score_rule(rule: Rule, firings: Firings, latent: int, sets: TokenSets, n: int, seed: int) -> Score:
    """A rule's score on a balanced sample of at most n firing positions."""
    sample = balanced_sample(firings, latent, n, np.random.default_rng([seed, latent]))
    predicted = Contexts(firings.token_ids, sample.positions, sets).fires(rule)
    return score(predicted, sample.fires)


def _firings(bundle: Bundle, work: Path, split: str, windows: int | None) -> tuple[dict[int, Firings], list[str], int]:
    """Firings of every layer, every token's text, and BOS."""
    if not (work / split / "progress.json").is_file():
        raise TrackerError(
            f"No activations in {work / split}. Collect them first: python -m sae train (train) and python -m sae "
            f"quality (validation), with --work {work}."
        )
    language_model = load_model(bundle)
    saes = load_saes(bundle.sae_folder, bundle.layers, d_model=language_model.d_model)
    harvest = load_harvest(work / split)
    tokenizer = language_model.tokenizer
    texts = [str(tokenizer.decode([token])) for token in range(len(tokenizer))]
    log.info("encoding %s", split)
    firings = {layer: encode_harvest(harvest, layer, sae, windows=windows) for layer, sae in saes.items()}
    return firings, texts, language_model.bos_id


def _token_sets(train: dict[int, Firings], texts: list[str], bos_id: int, seed: int) -> TokenSets:
    log.info("grouping tokens")
    counts = np.bincount(next(iter(train.values())).current, minlength=len(texts))
    profiles = [firing_profiles(firings.token_counts(len(texts)), counts) for firings in train.values()]
    return build_token_sets(texts, bos_id, counts, np.concatenate(profiles, axis=1), seed=seed)


def _label_layer(
    layer: int, train: Firings, held_out: Firings, sets: TokenSets, sample: int, seed: int
) -> pd.DataFrame:
    vocabulary = count_words(train, sets)
    statistics = feature_statistics(train)
    rows, start = [], time.monotonic()
    for latent in range(train.n_latents):
        rule = learn_rule(train, latent, vocabulary, sets, LearnConfig(), np.random.default_rng([seed, layer, latent]))
        measured = NOT_SCORED if rule is None else score_rule(rule, held_out, latent, sets, sample, seed)
        label = word_rule(rule, sets)
        rows.append({"label": label, **measured._asdict(), "rule": "" if rule is None else rule_to_json(rule)})
        if (latent + 1) % 100 == 0:
            log.info("layer %d: %d of %d, %.0f s", layer, latent + 1, train.n_latents, time.monotonic() - start)
    frame = pd.concat([pd.DataFrame(rows), statistics], axis=1)
    return frame.assign(layer=layer, feature=range(train.n_latents), f1_method=METHOD)


main.add_command(check_table_file)
main.add_command(import_labels)
main.add_command(measure)

if __name__ == "__main__":
    main()
