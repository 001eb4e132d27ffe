"""`feature-tracker find`: the features that tell sentences apart, and a probe that reads a few of them."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.cli.options import bundle_options
from feature_tracker.cli.progress import terminal_progress
from feature_tracker.compare.examples import SIGNIFICANT
from feature_tracker.compare.probe import MOST_FEATURES, labelled_sentences, read_probe
from feature_tracker.errors import TrackerError
from feature_tracker.files import numbered_lines, replacing
from feature_tracker.labels.csv_files import guarded
from feature_tracker.text import sentence_spans
from feature_tracker.tracker import Tracker

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("find")
@bundle_options
@click.option("--with", "with_it", type=_FILE, help="Sentences with it, one a line.")
@click.option("--without", type=_FILE, help="Sentences without it, otherwise alike, one a line.")
@click.option("--examples", type=_FILE, help="Instead: a CSV file with the columns text and label, for a probe.")
@click.option(
    "--features", default=MOST_FEATURES, show_default=True, type=click.IntRange(1, 200), help="That the probe may read."
)
@click.option("--save", type=click.Path(dir_okay=False, path_type=Path), help="Write the probe into this JSON file.")
@click.option("--probe", "probe_file", type=_FILE, help="Instead: a probe to apply to --to.")
@click.option("--to", type=click.Path(exists=True, path_type=Path), help="A .txt file, or a folder of them.")
def main(
    bundle: Bundle,
    with_it: Path | None,
    without: Path | None,
    examples: Path | None,
    features: int,
    save: Path | None,
    probe_file: Path | None,
    to: Path | None,
) -> None:
    """Find the features that tell sentences with something from sentences without it, and print them as CSV.

    With --examples, fit a probe that tells labels apart by a few readable features, and print how well it does beside
    words, the residual stream and all features. With --probe and --to, apply one to the sentences of files. Notes and
    progress go to standard error.
    """
    with terminal_progress("Looking for the model") as progress:
        if with_it is not None and without is not None and examples is None and probe_file is None:
            sides = _lines(with_it), _lines(without)
            found = Tracker.open(bundle, progress=progress).find(*sides, progress=progress)
            table, note = found.features, _found_in_words(len(found.significant))
        elif examples is not None and probe_file is None:
            sentences, classes = _examples(examples)
            tracker = Tracker.open(bundle, progress=progress)
            probed = tracker.probe(sentences, classes, n_features=features, progress=progress)
            table, note = probed.scores, "Weighted F1 by cross-validation on sentences left out:"
            if save is not None:
                with replacing(save) as beside:
                    beside.write_bytes(probed.probe.to_json())
        elif probe_file is not None and to is not None:
            probe, sentences = read_probe(probe_file.read_bytes(), str(probe_file)), _sentences(to)
            table = Tracker.open(bundle, progress=progress).apply(probe, sentences, progress=progress)
            note = f"{len(table):,} sentences"
        else:
            raise click.UsageError("Give --with and --without, or --examples, or --probe and --to.")
    click.echo(note, err=True)
    click.echo(guarded(table).to_csv(index=False, float_format="%.4g"), nl=False)


def _found_in_words(n: int) -> str:
    if not n:
        return "Nothing found: no feature tells the sides apart better than one of so many would by chance."
    return (
        f"{n:,} feature{' tells' if n == 1 else 's tell'} the sides apart better than chance (p at most {SIGNIFICANT})."
    )


def _lines(path: Path) -> list[str]:
    return [line for _, line in numbered_lines(path)]


def _examples(path: Path) -> tuple[list[str], list[str]]:
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise TrackerError(f"{path} is no CSV table in UTF-8 ({error}).") from None
    return labelled_sentences({str(name): rows[name].tolist() for name in rows.columns}, str(path))


def _sentences(path: Path) -> list[str]:
    files = sorted(path.glob("**/*.txt")) if path.is_dir() else [path]
    texts = ["".join(line for _, line in numbered_lines(file)) for file in files]
    sentences = [text[start:end] for text in texts for start, end in sentence_spans(text).tolist()]
    if not sentences:
        raise TrackerError(f"{path} holds no sentence. Name a .txt file, or a folder that holds some.")
    return sentences
