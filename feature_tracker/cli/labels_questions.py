"""`feature-tracker labels questions`: write questions for readers and judges of features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import click
import numpy as np

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.corpus.documents import Windows, mixed_windows
from feature_tracker.corpus.harvest import load_harvest
from feature_tracker.corpus.origin import Origin, fingerprint
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import require_writable
from feature_tracker.labelling.answers import write_records
from feature_tracker.labelling.firings import CorpusText, Firings, find_firings
from feature_tracker.labelling.questions import (
    ExplainQuestion,
    ExplainQuestions,
    JudgeKey,
    JudgeQuestion,
    JudgeQuestions,
    Wording,
)
from feature_tracker.labels.columns import UNLABELLED
from feature_tracker.labels.table import LabelTable
from feature_tracker.model.hooks import read_residuals
from feature_tracker.tracing.run import Forward
from feature_tracker.tracker import Tracker

_TEXT = "a folder of .txt files, or a .jsonl(.gz) file with `text` and `split` in every line"
_CONTROLS = 20
"""Questions for each that carries the label of another feature."""


@click.group()
def questions() -> None:
    """Write questions for the people or models that read features and judge labels."""


def _text_options(command: Callable[..., None]) -> Callable[..., None]:
    for option in reversed((
        click.argument("out", type=click.Path(path_type=Path)),
        bundle_options,
        click.option("--finance", multiple=True, type=Path, help=f"Finance text: {_TEXT}; may be given several times."),
        click.option("--general", multiple=True, type=Path, help="General text, likewise. Default: none."),
        click.option(
            "--work", type=Path,
            help="Instead of text: the folder in which `sae train` and `sae quality` collected activations.",
        ),
        click.option(
            "--tokens", type=click.IntRange(min=1), default=1_000_000, show_default=True,
            help="Most tokens of text to run.",
        ),
        click.option("--features", default="", help="Only these, such as “L16/F283 L22/F5”. Default: all."),
        click.option("--seed", default=0, show_default=True, help="Of what is drawn at random."),
    )):  # fmt: skip
        command = option(command)
    return command


@questions.command()
@_text_options
def explain(
    out: Path, bundle: Bundle, finance: tuple[Path, ...], general: tuple[Path, ...], work: Path | None, tokens: int,
    features: str, seed: int,
) -> None:  # fmt: skip
    """Write questions for readers: what does each feature fire on?

    OUT is a JSON Lines file with one question a feature: excerpts of the `train` split in which it fires, strongly to
    weakly, and in which it is silent. Give the answers to `labels answers explain`.
    """
    source = _Source(finance, general, work, tokens, "train")
    opened = _open(bundle, out, source, features)
    n = write_records(out, _explain_questions(opened, seed))
    click.echo(f"Wrote {n:,} questions to {out}.")


@questions.command()
@_text_options
@click.option("--key", type=Path, required=True, help="File for the right answers, which no judge may see.")
@click.option(
    "--label", type=click.Choice(["label", "top_words"]), default="label", show_default=True,
    help="Which label to judge: the one that stands, or the top words.",
)  # fmt: skip
def judge(
    out: Path, bundle: Bundle, finance: tuple[Path, ...], general: tuple[Path, ...], work: Path | None, tokens: int,
    features: str, seed: int, key: Path, label: Literal["label", "top_words"],
) -> None:  # fmt: skip
    """Write blind questions for judges: does a feature with this label fire here?

    OUT is a JSON Lines file with one question a labelled feature: its label and 32 marked excerpts of the `validation`
    split, in half of which it fires. One question in twenty more has the label of another feature, as a control. Give
    the answers to `labels answers judge`, with the key.
    """
    source = _Source(finance, general, work, tokens, "validation")
    require_writable(key.parent)
    opened = _open(bundle, out, source, features)
    asked = list(_judge_questions(opened, label, seed))
    if not asked:
        raise TrackerError(f"No feature has a {label.replace('_', ' ')} to judge, or none fires often enough.")
    order = np.random.default_rng(seed).permutation(len(asked))
    write_records(key, (asked[row][1] for row in order))
    write_records(out, (asked[row][0] for row in order))
    n_controls = sum(key.control for _, key in asked)
    click.echo(f"Wrote {len(asked):,} questions to {out}, {n_controls:,} of them controls, and their key to {key}.")


class _Source(NamedTuple):
    """Where the text comes from, as the options have it."""

    finance: tuple[Path, ...]
    general: tuple[Path, ...]
    work: Path | None
    tokens: int
    split: str


class _Opened(NamedTuple):
    """A bundle with the text to ask about.

    Attributes:
        wanted: the features to ask about, in order.
    """

    tracker: Tracker
    windows: Windows
    forward: Forward
    one_by_one: bool
    wanted: list[Feature]

    def firings(self) -> Iterator[tuple[CorpusText, Firings]]:
        """Each layer's firings; streams from disk are read a layer at a time, text runs once for all."""
        text = CorpusText(self.windows, self.tracker.language_model.tokenizer)
        layers = sorted({feature.layer for feature in self.wanted})
        groups = [[layer] for layer in layers] if self.one_by_one else [layers]
        for group in groups:
            saes = {layer: self.tracker.saes[layer] for layer in group}
            with terminal_progress("Reading the text") as progress:
                found = find_firings(
                    self.windows, self.tracker.language_model, saes, forward=self.forward, progress=progress
                )
            while found:
                yield text, found.pop(min(found))


def _open(bundle: Bundle, out: Path, source: _Source, features: str) -> _Opened:
    if (source.work is None) != bool(source.finance):
        raise TrackerError("Name text with --finance, or with --work the folder of collected activations; one of them.")
    require_parts(bundle)
    require_writable(out.parent)
    harvest = None if source.work is None else load_harvest(source.work / source.split)
    with terminal_progress("Looking for the model") as progress:
        tracker = Tracker.open(bundle, progress=progress)
    wanted = _wanted(features, tracker.labels)
    if harvest is not None:
        harvest.check_origin(Origin.from_bundle(tracker.bundle, tracker.language_model.d_model))
        return _Opened(tracker, harvest.windows.part(slice(harvest.n_done)), harvest.forward, True, wanted)
    window = tracker.bundle.window
    tokenizer = tracker.language_model.tokenizer
    windows = mixed_windows(source.finance, source.general, tokenizer, split=source.split, window=window, seed=0)
    part = windows.part(slice(max(1, source.tokens // (window - 1))))
    return _Opened(tracker, part, read_residuals, False, wanted)


def _wanted(features: str, table: LabelTable) -> list[Feature]:
    known = [Feature(*map(int, key)) for key in table.frame.index]
    if not features:
        return known
    names = {str(feature): feature for feature in known}
    unknown = [name for name in features.split() if name not in names]
    if unknown:
        raise TrackerError(
            f"The bundle has no feature {unknown[0]}. Name features such as L16/F283, with spaces between."
        )
    return sorted({names[name] for name in features.split()})


def _explain_questions(opened: _Opened, seed: int) -> Iterator[ExplainQuestion]:
    tracker = opened.tracker
    for text, firings in opened.firings():
        slow = tracker.labels.slow(firings.layer)
        asking = ExplainQuestions(tracker.bundle.name, firings, tracker.saes[firings.layer], text, slow, seed=seed)
        for feature in opened.wanted:
            if feature.layer == firings.layer and asking.fires(feature.index):
                yield asking.question(feature.index)


def _judge_questions(opened: _Opened, label: str, seed: int) -> Iterator[tuple[JudgeQuestion, JudgeKey]]:
    tracker, rng = opened.tracker, np.random.default_rng(seed)
    saes = fingerprint(tracker.saes)
    for text, firings in opened.firings():
        slow = tracker.labels.slow(firings.layer)
        asking = JudgeQuestions(tracker.bundle.name, saes, firings, text, slow, seed=seed)
        wordings = _wordings(opened, firings.layer, label)
        for latent, wording in wordings.items():
            question = asking.question(latent, wording)
            if question is not None:
                yield question
        for latent in rng.permutation(list(wordings))[: len(wordings) // _CONTROLS].tolist():
            others = [other for other in wordings if other != latent and (other in slow) == (latent in slow)]
            question = asking.question(latent, wordings[int(rng.choice(others))], control=True) if others else None
            if question is not None:
                yield question


def _wordings(opened: _Opened, layer: int, label: str) -> dict[int, Wording]:
    frame = opened.tracker.labels.frame.reindex(columns=["label", "detail", "top_words"], fill_value="")
    wordings = {}
    for feature in opened.wanted:
        worded = str(frame.at[tuple(feature), label])
        detail = str(frame.at[tuple(feature), "detail"]) if label == "label" else ""
        if feature.layer == layer and worded not in ("", UNLABELLED):
            wordings[feature.index] = Wording(worded, detail)
    return wordings
