"""`feature-tracker labels words`: label a bundle's features by their top words on the user's own text."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import click
import numpy as np

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.corpus.documents import name_with_size, read_documents, windows_of
from feature_tracker.corpus.measure import EXPECTED_TEXT
from feature_tracker.corpus.origin import Origin
from feature_tracker.corpus.top_words import ON_NO_WORD
from feature_tracker.corpus.word_labels import LayerLabels, WordLabels, with_word_labels
from feature_tracker.errors import TrackerError
from feature_tracker.feature import SLOW
from feature_tracker.files import require_writable
from feature_tracker.labels.columns import UNLABELLED
from feature_tracker.labels.csv_files import load_labels, replace_table
from feature_tracker.labels.table import ALWAYS_YES_F1, LabelTable, latents_of
from feature_tracker.sae.load import load_saes
from feature_tracker.tracker import Tracker

_TEXT = (
    "a folder of .txt files, or a .jsonl(.gz) file with `text` and `split` in every line; may be given several times."
)


@click.command()
@bundle_options
@click.option("--finance", required=True, multiple=True, type=Path, help=f"Finance text: {_TEXT}")
@click.option("--general", required=True, multiple=True, type=Path, help=f"General text: {_TEXT}")
@click.option("--out", type=Path, help="File for the label table. Default: the bundle's own table is replaced.")
@click.option("--replace", is_flag=True, help="Replace the labels that a table has, or the file that --out names.")
@click.option(
    "--tokens", type=click.IntRange(min=1), help="Most tokens to read of each kind and split of text. Default: all."
)
@click.option(
    "--checkpoint",
    type=Path,
    help="Save what was learnt to this file once a minute. After an interruption, the same command goes on from there.",
)
def words(
    finance: tuple[Path, ...], general: tuple[Path, ...], bundle: Bundle, out: Path | None, replace: bool,
    tokens: int | None, checkpoint: Path | None,
) -> None:  # fmt: skip
    """Label features by their top words on your own text.

    Reads the `train` split of the text (in a folder, nine of ten files) and labels each feature with the words that
    hold most of its activation, or with words of the passages in which it fires if the table calls it slow: run `labels
    measure` before. Scores the labels on the `validation` split, writes both to the label table, and prints a summary.
    Measures stay as they are. No text is stored but the words of the labels; --checkpoint stores all words.
    """
    # Faults in the user's files show before gigabytes of a model are fetched and hours of text are run.
    for kind, paths in (("finance", finance), ("general", general)):
        _check_text(kind, paths)
    require_parts(bundle)
    table = _standing_table(bundle)
    path = out or bundle.labels
    _check_target(path, bundle, table, replace=replace)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
    language_model = tracker.language_model
    window = language_model.window(bundle.window)
    word_labels = WordLabels(
        language_model,
        tracker.saes,
        slow=_slow_latents(table),
        window=window,
        checkpoint=checkpoint,
        origin=dataclasses.replace(
            Origin.from_bundle(bundle, language_model.d_model),
            finance_text=tuple(map(name_with_size, finance)),
            general_text=tuple(map(name_with_size, general)),
            max_tokens=tokens or "all",
        ),
    )

    def windows(split: str) -> Iterator[np.ndarray]:
        return chain.from_iterable(
            windows_of(_read(paths, split), language_model.tokenizer, window=window, max_tokens=tokens)
            for paths in (finance, general)
        )

    word_labels.learn(windows("train"))
    labels = word_labels.score(windows("validation"))
    replace_table(with_word_labels(table, labels, bundle.name), path, latents_of(tracker.saes))
    word_labels.discard_checkpoint()
    click.echo(words_report(labels))
    click.echo(f"\nWrote {path}.")


def _read(paths: tuple[Path, ...], split: str) -> Iterator[str]:
    return chain.from_iterable(read_documents(path, split) for path in paths)


def _check_text(kind: str, paths: tuple[Path, ...]) -> None:
    """Refuse text of a kind if a file can't be read or holds nothing to learn from; reads up to the first document."""
    has_text = [any(text.strip() for text in _read((path,), "train")) for path in paths]
    if not any(has_text):
        raise TrackerError(
            f"There is no {kind} text of the split `train` in {', '.join(map(str, paths))}. {EXPECTED_TEXT}"
        )


def _standing_table(bundle: Bundle) -> LabelTable | None:
    if not bundle.labels.exists():
        return None
    return load_labels(bundle.labels, latents_of(load_saes(bundle.sae_folder, bundle.layers)), bundle)


def _check_target(path: Path, bundle: Bundle, table: LabelTable | None, *, replace: bool) -> None:
    """Refuse to write the new table to `path` where that isn't possible, or would lose what was not to be replaced."""
    require_writable(path.parent)
    if table is None or path.resolve() != bundle.labels.resolve():
        if path.exists() and not replace:
            raise TrackerError(f"{path} already exists. Replace it with --replace, or name another file with --out.")
        return
    if table.left_out:
        raise TrackerError(
            f"{path} has {table.left_out:,} rows of layers that are not chosen, which would be lost. Label all layers, "
            "or name another file with --out."
        )
    n_labelled = int((table.frame["label"] != UNLABELLED).sum())
    if n_labelled and not replace:
        raise TrackerError(
            f"{path} already holds labels of {n_labelled:,} features. Replace them with --replace, or name another "
            "file with --out."
        )


def _slow_latents(table: LabelTable | None) -> dict[int, list[int]]:
    """The slow features by layer; none where nobody measured them."""
    if table is None or "autocorrelation" not in table.frame:
        return {}
    slow = table.frame.index[table.frame["autocorrelation"] > SLOW]
    return {layer: [feature for of, feature in slow if of == layer] for layer in slow.unique("layer")}


def words_report(labels: dict[int, LayerLabels]) -> str:
    """Summarize the labels and their scores, by layer, as a Markdown table."""
    lines = [
        "| layer | labels by passages | on no word | median F1 | beat guessing | words that hold on held-out text |",
        "|---|---|---|---|---|---|",
    ]
    for layer, part in labels.items():
        f1, on_no_word = part.frame["f1"], int((part.frame["label"] == ON_NO_WORD).sum())
        held = f"{part.confirmed / part.shown:.1%} of {part.shown:,}" if part.shown else "none occurs"
        median = f"{f1.median():.3f}" if f1.notna().any() else "not scored"
        lines.append(
            f"| {layer} | {part.slow} | {on_no_word} | {median} | {(f1 > ALWAYS_YES_F1).mean():.1%} | {held} |"
        )
    return "\n".join(lines)
