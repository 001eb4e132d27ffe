"""`feature-tracker labels words`: label a bundle's features by their top words on the user's own text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.cli.labels_text import check_target, check_text, read_texts, standing_table
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.corpus.documents import name_with_size, numbered_windows
from feature_tracker.corpus.harvest import Harvest, load_harvest
from feature_tracker.corpus.origin import Origin
from feature_tracker.corpus.top_words import ON_NO_WORD
from feature_tracker.corpus.word_labels import LayerLabels, WordLabels, with_word_labels
from feature_tracker.errors import TrackerError
from feature_tracker.feature import SLOW
from feature_tracker.labels.columns import UNLABELLED
from feature_tracker.labels.csv_files import replace_table
from feature_tracker.labels.table import ALWAYS_YES_F1, LabelTable, latents_of
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
        corpus = _text_corpus(finance, general, tokens, bundle, tracker.language_model)
    else:
        corpus = _harvested_corpus(*harvests, bundle, tracker.language_model)
    word_labels = WordLabels(
        tracker.language_model, tracker.saes,
        slow=_slow_latents(table), window=corpus.window, checkpoint=checkpoint, origin=corpus.origin,
    )  # fmt: skip
    word_labels.learn(corpus.training, corpus.training_forward)
    labels = word_labels.score(corpus.held_out, corpus.held_out_forward)
    replace_table(with_word_labels(table, labels, bundle.name), path, latents_of(tracker.saes))
    word_labels.discard_checkpoint()
    click.echo(words_report(labels))
    click.echo(f"\nWrote {path}.")


class _Corpus(NamedTuple):
    """Windows of text, (n_tokens,) token ids each without BOS, and how to run them.

    Attributes:
        training: each with the number of its document.
    """

    training: Iterable[tuple[int, np.ndarray]]
    training_forward: Forward
    held_out: Iterable[np.ndarray]
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

    def windows(split: str) -> Iterator[tuple[int, np.ndarray]]:
        for kind, paths in enumerate((finance, general)):
            texts = read_texts(paths, split)
            for document, ids in numbered_windows(texts, model.tokenizer, window=window, max_tokens=tokens):
                yield 2 * document + kind, ids  # no number for two documents

    origin = dataclasses.replace(
        Origin.from_bundle(bundle, model.d_model),
        finance_text=tuple(map(name_with_size, finance)),
        general_text=tuple(map(name_with_size, general)),
        max_tokens=tokens or "all",
    )
    held_out = (ids for _, ids in windows("validation"))
    return _Corpus(windows("train"), read_residuals, held_out, read_residuals, window, origin)


def _harvested_corpus(training: Harvest, held_out: Harvest, bundle: Bundle, model: LanguageModel) -> _Corpus:
    for harvest in (training, held_out):
        harvest.check_origin(Origin.from_bundle(bundle, model.d_model))
    # A harvest that has grown since is another text.
    origin = dataclasses.replace(training.origin, max_tokens=training.n_tokens)
    train_ids, held_out_ids = (harvest.token_ids[: harvest.n_done, 1:] for harvest in (training, held_out))
    windows = zip(training.windows.document.tolist(), train_ids, strict=False)
    return _Corpus(windows, training.forward, held_out_ids, held_out.forward, training.token_ids.shape[1], origin)


def _slow_latents(table: LabelTable | None) -> dict[int, list[int]]:
    """The slow features by layer; none where nobody measured them."""
    if table is None or "autocorrelation" not in table.frame:
        return {}
    slow: dict[int, list[int]] = {}
    for layer, feature in table.frame.index[table.frame["autocorrelation"] > SLOW]:
        slow.setdefault(layer, []).append(feature)
    return slow


def words_report(labels: dict[int, LayerLabels]) -> str:
    """Summarize the labels and their scores, by layer, as a Markdown table."""
    lines = [
        "| layer | labels by passages | on no word | median F1 | beat guessing | words that hold on held-out text |",
        "|---|---|---|---|---|---|",
    ]
    for layer, part in labels.items():
        f1, on_no_word = part.frame["f1"], int((part.frame["label"] == ON_NO_WORD).sum())
        median = f"{f1.median():.3f}" if f1.notna().any() else "not scored"
        held = f"{part.confirmed / part.shown:.1%} of {part.shown:,}" if part.shown else "none occurs"
        lines.append(
            f"| {layer} | {part.slow} | {on_no_word} | {median} | {(f1 > ALWAYS_YES_F1).mean():.1%} | {held} |"
        )
    return "\n".join(lines)
