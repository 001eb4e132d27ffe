"""What the commands that ask an archive have in common: their options, features with labels, and tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.labels import archive_labels, tells_of_content
from feature_tracker.cli.options import telling_errors
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import replacing
from feature_tracker.labels.csv_files import storable, to_csv
from feature_tracker.labels.table import LabelTable
from feature_tracker.tracing.rows import features_of

_WIDEST, _WIDEST_LAST = 56, 240  # characters of a cell; the whole text is in the CSV file

_OPTIONS = (
    click.argument("archive", type=click.Path(file_okay=False, path_type=Path)),
    click.option("--bundle", default="", help="The archive's bundle, by TOML file. Default: by the name it states."),
    click.option(
        "--labels", type=click.Path(dir_okay=False, path_type=Path), help="Label table. Default: the bundle's."
    ),
    click.option(
        "--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the whole table to this file."
    ),
)
top_option = click.option("--top", type=click.IntRange(1), default=15, show_default=True, help="Rows to print.")
form_option = click.option(
    "--form",
    is_flag=True,
    help="Print features of numbers, punctuation, grammar and position too, as the CSV has them.",
)
unit_option = click.option(
    "--unit",
    metavar="REGEX",
    help="Documents whose names agree in what this matches, such as a company's, count as one voice.",
)


def archive_command(command: Callable[..., None]) -> Callable[..., None]:
    """Give a click command the argument ARCHIVE and the options --bundle, --labels and --csv.

    The command is called with the opened `archive`, its `labels` and the path `csv_file` or `None`.
    """

    @telling_errors
    @functools.wraps(command)
    def opened(*args: Any, archive: Path, bundle: str, labels: Path | None, **kwargs: Any) -> None:
        found = Archive.open(archive)
        if not found.n_parts:
            raise TrackerError(f"{archive} has no finished part yet. Wait for its run, or start it again.")
        command(*args, archive=found, labels=archive_labels(found, bundle=bundle, path=labels), **kwargs)

    for option in reversed(_OPTIONS):
        opened = option(opened)
    return opened


def quoted(feature: Feature, labels: LabelTable) -> str:
    """A feature with its label, for a sentence."""
    return f"{feature} “{_line(labels.name(feature), _WIDEST_LAST)}”"


def with_labels(table: pd.DataFrame, labels: LabelTable, prefix: str = "") -> pd.DataFrame:
    """A table with each feature as one text, and behind it its label, and the label's kind and F1.

    Args:
        prefix: of the columns `layer` and `feature`, which are replaced.
    """
    keys = table[[f"{prefix}layer", f"{prefix}feature"]]
    known = labels.describe(pd.MultiIndex.from_frame(keys.set_axis(["layer", "feature"], axis=1)))
    named = table.drop(columns=list(keys.columns))
    at = int(table.columns.get_loc(f"{prefix}layer"))  # pyright: ignore[reportArgumentType]  # names are unique
    named.insert(at, f"{prefix}feature", [str(Feature(*key)) for key in keys.itertuples(index=False)])
    named.insert(at + 1, f"{prefix}label", known["label"].to_numpy())
    named.insert(at + 2, f"{prefix}kind", known["kind"].to_numpy())
    named.insert(at + 3, f"{prefix}f1", known["f1"].to_numpy())
    return named


def surest_to_name(table: pd.DataFrame, labels: LabelTable, *, form: bool) -> pd.Series:
    """The first row; without `form` the first that tells of content, where one does."""
    return table.iloc[0 if form else int(np.argmax(tells_of_content(labels, features_of(table))))]


def tell(sentences: Sequence[str]) -> None:
    """Print what was found, a paragraph each."""
    click.echo("\n\n".join(filter(None, sentences)))


def print_table(
    table: pd.DataFrame,
    top: int,
    csv_file: Path | None,
    *,
    columns: Sequence[str] | None = None,
    printed: np.ndarray | None = None,
) -> None:
    """Print the first rows of a table, and write all of it where a file is named.

    Args:
        columns: those to print; all if `None`.
        printed: (n_rows,) bool, the rows that may be printed; all if `None`.
    """
    if csv_file is not None:
        with replacing(csv_file) as beside:
            beside.write_bytes(to_csv(table))
    shown = table if printed is None else table[printed]
    if len(shown) and top:
        click.echo("\n" + _aligned(shown.head(top)[list(table.columns if columns is None else columns)]))
    if top and len(shown) < len(table):
        hidden = counted(len(table) - len(shown), "row")
        click.echo(f"\nLeft out: {hidden} of numbers, punctuation, grammar and position. --form prints them.")
    more = len(shown) - top
    if more > 0 and top and csv_file is None:
        click.echo(f"\n{more:,} more rows: --top {len(shown)} prints them, and --csv FILE writes all to a file.")
    if csv_file is not None:
        click.echo(f"\nWrote {len(table):,} rows to {csv_file}.")


def counted(n: int, what: str) -> str:
    """A number with its noun: `1 document`, `1,200 documents`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _aligned(table: pd.DataFrame) -> str:
    """A table as lines: numbers to the right, texts to the left."""
    columns = []
    for name, column in table.items():
        is_number = pd.api.types.is_numeric_dtype(column)
        widest = _WIDEST_LAST if name == table.columns[-1] else _WIDEST
        cells = [str(name), *(_number(cell) if is_number else _line(cell, widest) for cell in column)]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if is_number else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(cells).rstrip() for cells in zip(*columns, strict=True))


def _number(value: float) -> str:
    if pd.isna(value):
        return ""
    return f"{value:,}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.3g}"


def _line(cell: object, widest: int = _WIDEST) -> str:
    text = "" if pd.isna(cell) else " ".join(storable(str(cell)).split())  # pyright: ignore[reportArgumentType, reportCallIssue]
    return text if len(text) <= widest else f"{text[: widest - 1]}…"
