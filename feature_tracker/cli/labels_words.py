"""`feature-tracker labels words`: label a bundle's features by their top words on the user's own text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.cli.labels_text import check_target, check_text, read_texts, standing_table
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.corpus.documents import Windows, mixed_windows, name_with_size, numbered_windows
from feature_tracker.corpus.harvest import Harvest, load_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.corpus.top_words import TopWords
from feature_tracker.corpus.word_labels import WordLabels, with_top_words
from feature_tracker.corpus.words import WordReader
from feature_tracker.errors import TrackerError
from feature_tracker.labelling.firings import CorpusText, find_firings
from feature_tracker.labelling.rule import RuleScores, score_top_words
from feature_tracker.labels.columns import KEYS, UNLABELLED
from feature_tracker.labels.csv_files import replace_table
from feature_tracker.labels.table import ALWAYS_YES_F1, latents_of
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.tracing.run import Forward
from feature_tracker.tracker import Tracker

_TEXT = (
    "a folder of .txt files, or a .jsonl(.gz) file with `text` and `split` in every line; may be given several times."
)
_TWO_WAYS = (
    "Name text of both kinds with --finance and --general, or with --work the folder in which `feature-tracker sae "
    "train` and `sae quality` collected activations"
)


@click.command()
@bundle_options
@click.option("--finance", multiple=True, type=Path, help=f"Finance text: {_TEXT}")
@click.option("--general", multiple=True, type=Path, help=f"General text: {_TEXT}")
@click.option(
    "--work",
    type=Path,
    help="Instead of text: the folder in which `sae train` and `sae quality` collected activations. Much faster, since "
    "no text is run.",
)
@click.option("--out", type=Path, help="File for the label table. Default: the bundle's own table is replaced.")
@click.option("--replace", is_flag=True, help="Replace the labels that a table has, or the file that --out names.")
@click.option(
    "--tokens", type=click.IntRange(min=1), help="Most tokens to read of each kind and split of text. Default: all."
)
@click.option(
    "--checkpoint",
    type=Path,
    help="Save the sums and the words to this file once a minute. After an interruption, the same command goes on from "
    "there.",
)
def words(
    finance: tuple[Path, ...], general: tuple[Path, ...], work: Path | None, bundle: Bundle, out: Path | None,
    replace: bool, tokens: int | None, checkpoint: Path | None,
) -> None:  # fmt: skip
    """Label features by their top words.

    Reads the `train` split of your text (in a folder, nine of ten files) and labels each feature with the words that
    hold most of its activation, or with words of the passages in which it fires if the table says that it is slow;
    `labels measure` finds that out. Scores the labels on the `validation` split, writes both to the label table, and
    prints a summary. Measures stay as they are.
    """
    # Faults in the user's files show before gigabytes of a model are fetched and hours of text are run.
    harvests = _chosen_harvests(finance, general, work, tokens)
    require_parts(bundle)
    table = standing_table(bundle)
    path = out or bundle.labels
    n_labelled = 0 if table is None else int((table.frame["label"] != UNLABELLED).sum())
    standing = f"labels of {n_labelled:,} features" if n_labelled else ""
    check_target(path, bundle, table, replace=replace, standing=standing)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
    if harvests is None:
        corpus = _text_corpus(finance, general, tokens, tracker.bundle, tracker.language_model)
    else:
        corpus = _harvested_corpus(*harvests, tracker.bundle, tracker.language_model)
    slow = {layer: table.slow(layer) for layer in tracker.saes} if table else {}
    word_labels = WordLabels(
        tracker.language_model, tracker.saes,
        slow=slow, window=corpus.window, checkpoint=checkpoint, origin=corpus.origin,
    )  # fmt: skip
    word_labels.learn(corpus.training, corpus.training_forward)
    labels = word_labels.choose()
    scores = (
        {}
        if corpus.held_out is None
        else _scores(labels, corpus.held_out, corpus.held_out_forward, tracker, word_labels.reader)
    )
    frames = {}
    for layer, chosen in labels.items():
        words = pd.DataFrame({"top_words": [label.label for label in chosen]})
        frames[layer] = words.join(scores[layer].frame) if layer in scores else words.assign(f1=np.nan)
    new_table = with_top_words(table, pd.concat(frames, names=KEYS), bundle.name)
    replace_table(new_table, path, latents_of(tracker.saes))
    word_labels.discard_checkpoint()
    click.echo(words_report(labels, scores))
    click.echo(f"\nWrote {path}.")


class _Corpus(NamedTuple):
    """Windows of text, and how to run them.

    Attributes:
        training: (n_tokens,) token ids each without BOS, with the number of the document.
        held_out: `None` where no document of the split is long enough.
    """

    training: Iterable[tuple[int, np.ndarray]]
    training_forward: Forward
    held_out: Windows | None
    held_out_forward: Forward
    window: int
    origin: Origin


def _chosen_harvests(
    finance: tuple[Path, ...], general: tuple[Path, ...], work: Path | None, tokens: int | None
) -> tuple[Harvest, Harvest] | None:
    """The harvests of training and held-out text; `None` where there is text to run instead, which is looked at.

    Raises:
        TrackerError: both are given, or none, or what is given can't be read or holds nothing to learn from.
    """
    if work is not None and (finance or general or tokens):
        raise TrackerError(f"{_TWO_WAYS}, not both. --tokens belongs to the first.")
    if work is not None:
        return load_harvest(work / "train"), load_harvest(work / "validation")
    if not (finance and general):
        raise TrackerError(f"{_TWO_WAYS}.")
    check_text("finance", finance, "train")
    check_text("general", general, "train")
    return None


def _text_corpus(
    finance: tuple[Path, ...], general: tuple[Path, ...], tokens: int | None, bundle: Bundle, model: LanguageModel
) -> _Corpus:
    window = model.window(bundle.window)

    def windows() -> Iterator[tuple[int, np.ndarray]]:
        for kind, paths in enumerate((finance, general)):
            texts = read_texts(paths, "train")
            for document, ids in numbered_windows(texts, model.tokenizer, window=window, max_tokens=tokens):
                yield 2 * document + kind, ids  # no number for two documents

    origin = dataclasses.replace(
        Origin.from_bundle(bundle, model.d_model),
        finance_text=tuple(map(name_with_size, finance)),
        general_text=tuple(map(name_with_size, general)),
        max_tokens=tokens or "all",
    )
    try:
        held_out = mixed_windows(finance, general, model.tokenizer, split="validation", window=window, seed=0)
    except TrackerError as error:
        click.echo(f"{error} As it is, labels get no scores.", err=True)
        held_out = None
    if held_out is not None and tokens is not None:
        held_out = held_out.part(slice(max(1, tokens // (window - 1))))
    return _Corpus(windows(), read_residuals, held_out, read_residuals, window, origin)


def _harvested_corpus(training: Harvest, held_out: Harvest, bundle: Bundle, model: LanguageModel) -> _Corpus:
    for harvest in (training, held_out):
        harvest.check_origin(Origin.from_bundle(bundle, model.d_model))
    # A harvest that has grown since is another text.
    origin = dataclasses.replace(training.origin, max_tokens=training.n_tokens)
    windows = zip(training.windows.document.tolist(), training.token_ids[: training.n_done, 1:], strict=False)
    whole = held_out.windows.part(slice(held_out.n_done))
    return _Corpus(windows, training.forward, whole, held_out.forward, training.token_ids.shape[1], origin)


def _scores(
    labels: dict[int, list[TopWords]], held_out: Windows, forward: Forward, tracker: Tracker, reader: WordReader
) -> dict[int, RuleScores]:
    text = CorpusText(held_out, tracker.language_model.tokenizer, reader)
    scores = {}
    for layer, sae in tracker.saes.items():  # one by one, since the firings of all take gigabytes
        firings = find_firings(held_out, tracker.language_model, {layer: sae}, forward=forward)
        scores[layer] = score_top_words(labels[layer], firings[layer], text)
    return scores


def words_report(labels: dict[int, list[TopWords]], scores: dict[int, RuleScores]) -> str:
    """Summarize the labels and their scores, by layer, as a Markdown table."""
    lines = [
        "| layer | labels by passages | on no word | median F1 | of strong firings | beat guessing | words that hold "
        "on held-out text |",
        "|---|---|---|---|---|---|---|",
    ]
    for layer, tops in labels.items():
        part = scores.get(layer, RuleScores(pd.DataFrame({"f1": [np.nan], "f1_strong": [np.nan]}), 0, 0))
        slow, on_no_word = sum(top.slow for top in tops), sum(not top.words for top in tops)
        medians = [
            f"{part.frame[name].median():.3f}" if part.frame[name].notna().any() else "not scored"
            for name in ("f1", "f1_strong")
        ]
        held = f"{part.confirmed / part.shown:.1%} of {part.shown:,}" if part.shown else "none occurs"
        beat = (part.frame["f1"] > ALWAYS_YES_F1).mean()
        lines.append(f"| {layer} | {slow} | {on_no_word} | {' | '.join(medians)} | {beat:.1%} | {held} |")
    return "\n".join(lines)
