"""Find label files in the paths that the user names, and detect their formats by their contents."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from feature_tracker.errors import TrackerError
from feature_tracker.labels.importers import csv_labels, csv_specialization, delphi, neuronpedia
from feature_tracker.labels.importers.csv_rows import read_header
from feature_tracker.labels.importers.imported import Imported, Tally
from feature_tracker.labels.importers.target import Target

FORMATS = (
    "a Delphi run (a folder with explanations/ and scores/), a CSV with layer,feature,label,f1_score"
    "[,accuracy,precision,recall], a CSV with layer,feature,llm_label,domain_activation,general_activation,"
    "specialization, or Neuronpedia's explanations (an export, .jsonl or .jsonl.gz, or the API's .json)"
)


class Source(NamedTuple):
    """A file or run in a known format.

    Attributes:
        path: where it is.
        kind: its format, in words.
        read: yields its labels for a target and fills a tally.
    """

    path: Path
    kind: str
    read: Callable[[Path, Target, Tally], Imported]


class LabelFiles(NamedTuple):
    """What lies at the paths that the user named.

    Attributes:
        sources: in the order named, within a folder by name.
        left_out: other files in the folders.
    """

    sources: list[Source]
    left_out: list[Path]


def find_sources(paths: Iterable[Path]) -> LabelFiles:
    """Look through files and folders.

    Raises:
        TrackerError: a path doesn't exist, a file named outright is in no known format, or there are no labels at all.
    """
    files = LabelFiles([], [])
    named = list(paths)
    for path in named:
        if not path.exists():
            raise TrackerError(f"{path} does not exist. Name a file or folder of labels: {FORMATS}.")
        for candidate in _candidates(path):
            try:
                source = detect_format(candidate)
            except TrackerError:
                if candidate == path:
                    raise
                source = None
            if source is not None:
                if source not in files.sources:
                    files.sources.append(source)
            elif candidate == path:
                raise TrackerError(f"{path} is in no format known here. Expected {FORMATS}.")
            else:
                files.left_out.append(candidate)
    if not files.sources:
        raise TrackerError(f"No labels in {', '.join(map(str, named))}. Expected {FORMATS}.")
    return files


def detect_format(path: Path) -> Source | None:
    """The source that a file or a Delphi run's folder is; `None` where no importer reads it.

    Raises:
        TrackerError: the file can't be read, or not as what its name says.
    """
    if path.is_dir():
        return Source(path, delphi.KIND, delphi.read_delphi)
    if path.suffix.lower() in (".csv", ".tsv"):
        header = read_header(path)
        if csv_specialization.is_csv_specialization(header):
            return Source(path, csv_specialization.KIND, csv_specialization.read_csv_specialization)
        if csv_labels.is_csv_labels(header):
            return Source(path, csv_labels.KIND, csv_labels.read_csv_labels)
        return None
    if neuronpedia.is_neuronpedia(path):
        return Source(path, neuronpedia.KIND, neuronpedia.read_neuronpedia)
    return None


def _candidates(path: Path) -> Iterator[Path]:
    """Yield the files and Delphi runs at or below a path, by name."""
    if not path.is_dir() or delphi.is_delphi_run(path):
        yield path
        return
    try:
        children = sorted(path.iterdir())
    except OSError as error:
        raise TrackerError(f"{path} can't be read ({error.strerror}).") from None
    for child in children:
        if not child.name.startswith(".") and not (child.is_dir() and child.is_symlink()):
            yield from _candidates(child)
