"""Read CSV files with one row per feature, one row at a time, so that a file of any length takes the same memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from feature_tracker.bundles.hook_names import stream_of_hook, stream_of_source
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.labels.importers.csv_text import CsvFile
from feature_tracker.labels.importers.imported import Tally
from feature_tracker.labels.importers.target import Target

# Columns beside `layer` that say where a feature is, as Neuronpedia, SAELens and Delphi call it.
_HOOK_COLUMNS = {"hook", "hook_name", "hook_point", "hookpoint"}
_SOURCE_COLUMNS = {"source", "sae_id", "neuronpedia_id", "source_id"}
_MODEL_COLUMNS = {"model", "model_id", "model_name", "modelid"}
_NAMED_LAYER = re.compile(r"(?:^|[_\W])layer[_-]?(\d{1,4})$", re.IGNORECASE)  # features_layer10.csv

Numbers = TypeVar("Numbers")
ToNumber = Callable[[str], float]


class BadCell(Exception):
    """A row can't be taken.

    Args:
        reason: what was expected.
        content: what was found.
    """

    def __init__(self, reason: str, content: str) -> None:
        super().__init__(reason)
        self.reason, self.content = reason, content


class FeatureRow(NamedTuple, Generic[Numbers]):
    """A row that is about one feature.

    Attributes:
        feature: from the columns `layer` and `feature`.
        where: file and line, for a message.
        cells: texts by column.
        numbers: what the format's own parser made of the cells.
    """

    feature: Feature
    where: str
    cells: dict[str, str]
    numbers: Numbers


def read_header(path: Path) -> list[str]:
    """The names of the columns, as `CsvFile` has them; empty where the file is empty or no text.

    Raises:
        TrackerError: the file can't be opened.
    """
    try:
        return CsvFile(path).header
    except csv.Error:
        return []


def read_feature_rows(
    path: Path,
    target: Target,
    tally: Tally,
    columns: Collection[str],
    parse: Callable[[dict[str, str], ToNumber], Numbers],
) -> Iterator[FeatureRow[Numbers]]:
    """Yield the first sound row of each feature of the bundle; the tally counts the others as rejected or left out.

    Args:
        columns: what the format reads. Any of them may stand there twice where its cells agree.
        parse: makes numbers of a row's cells, or raises `BadCell`. It gets what turns a cell into a number, or raises
            `ValueError`.

    Raises:
        TrackerError: a row is about a feature that the bundle doesn't have, or about another layer than the file's name
            says; the file is no CSV, or a quote that was left open makes one row of several.
    """
    file = CsvFile(path)
    doubled = [name for name in columns if file.header.count(name) > 1]
    named_layer = _NAMED_LAYER.search(path.stem)
    first_rows: dict[Feature, str] = {}
    for line, cells in file.rows():
        tally.read += 1
        where = f"{path.name}, line {line}"
        _check_span(where, line, cells, file, target)
        if len(cells) != len(file.header):
            tally.reject(where, f"a row must have {len(file.header)} cells", f"{len(cells)} cells")
            continue
        named = dict(zip(file.header, cells, strict=True))
        differing = [
            name for name in doubled if len({c for n, c in zip(file.header, cells, strict=True) if n == name}) > 1
        ]
        if differing:
            tally.reject(where, f"the column {differing[0]} stands there twice and says different things")
            continue
        try:
            feature = _feature(named, named_layer and int(named_layer[1]), where, target)
        except ValueError:
            tally.reject(where, "layer and feature must be whole numbers", f"{named['layer']},{named['feature']}")
            continue
        if feature is None:
            tally.left_out += 1
            continue
        if feature in first_rows:
            tally.reject(f"{where}, first in {first_rows[feature]}", "the feature has a row already")
            continue
        try:
            numbers = parse(named, file.number)
        except BadCell as bad:
            tally.reject(where, bad.reason, bad.content)
            continue
        first_rows[feature] = where
        yield FeatureRow(feature, where, named, numbers)
    tally.notes += file.notes


def _feature(cells: dict[str, str], named_layer: int | None, where: str, target: Target) -> Feature | None:
    """The feature of a row; `None` where the user left its layer out.

    Args:
        named_layer: the layer that the file is named after.

    Raises:
        TrackerError: the bundle doesn't have it, the row names another model, or its hook, source or file another
            layer.
        ValueError: not two whole numbers.
    """
    for column in _MODEL_COLUMNS & cells.keys():
        if cells[column].strip():
            target.check_model(cells[column].strip(), where)
    feature = target.feature(cells["layer"], cells["feature"], where)
    if feature is not None and named_layer not in (None, feature.layer):
        raise TrackerError(
            f"{where} is about layer {feature.layer}, but the file is named after layer {named_layer}. Correct the "
            "column `layer`, or rename the file. Nothing was written."
        )
    if feature is not None:
        _check_streams(cells, feature.layer, where)
    return feature


def _check_streams(cells: dict[str, str], layer: int, where: str) -> None:
    """Refuse a row whose hook or source is of another layer; cells of other forms, such as a filing's 10-K, are none.

    Raises:
        TrackerError: names both.
    """
    for column in sorted((_HOOK_COLUMNS | _SOURCE_COLUMNS) & cells.keys()):
        model, _, name = cells[column].strip().rpartition("/")
        # A number alone would be Neuronpedia's name of neurons, but here it can be anything.
        is_source = column in _SOURCE_COLUMNS and not name.isdecimal()
        stream = stream_of_source(name, model) if is_source else stream_of_hook(name)
        if stream is not None and stream.layer != layer and (stream.certain or stream.place != "elsewhere"):
            here = "no layer's" if stream.layer is None else f"layer {stream.layer}'s"
            raise TrackerError(
                f"{where}: layer says {layer}, and {column} says {cells[column]:.80}, which is {here} (layer N is the "
                "residual stream after block N). Correct the one that is wrong. Nothing was written."
            )


def _check_span(where: str, line: int, cells: list[str], file: CsvFile, target: Target) -> None:
    """Refuse a row that has swallowed rows below it; a label may have several lines as well.

    Raises:
        TrackerError: a cell with line breaks stands in a row of another width, or holds the beginning of a row.
    """
    breaks = sum(cell.count("\n") for cell in cells)
    if not breaks:
        return
    sign = re.escape(file.delimiter)
    row_begins = re.compile(rf"\n(\d{{1,9}}){sign}(0|[1-9]\d{{0,8}}){sign}")
    wrong = ""
    if len(cells) != len(file.header):
        wrong = f"has {len(cells)} cells instead of {len(file.header)}"
    elif any(
        int(index) < target.n_latents.get(int(layer), 0) for cell in cells for layer, index in row_begins.findall(cell)
    ):
        wrong = "holds what begins like another row"
    if wrong:
        raise TrackerError(
            f"{where}: the row goes on to line {line + breaks} and {wrong}. A quote is left open: close it, or double "
            "a quote that belongs to the text. Nothing was written."
        )
