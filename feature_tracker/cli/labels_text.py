"""What commands share that read text, or a harvest of it, and fill a bundle's label table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.corpus.documents import read_documents
from feature_tracker.corpus.measure import EXPECTED_TEXT
from feature_tracker.errors import TrackerError
from feature_tracker.files import require_writable
from feature_tracker.labels.csv_files import load_labels
from feature_tracker.labels.table import LabelTable, latents_of
from feature_tracker.sae.load import load_bundle_saes


def read_texts(paths: tuple[Path, ...], split: str | None) -> Iterator[str]:
    """The texts of all documents of a split, or of every split."""
    return (document.text for path in paths for document in read_documents(path, split))


def check_text(kind: str, paths: tuple[Path, ...], split: str | None) -> None:
    """Refuse text of a kind if a file can't be read or all are blank; reads up to each path's first document."""
    has_text = [any(text.strip() for text in read_texts((path,), split)) for path in paths]
    if not any(has_text):
        of_split = f" of the split `{split}`" if split else ""
        raise TrackerError(f"There is no {kind} text{of_split} in {', '.join(map(str, paths))}. {EXPECTED_TEXT}")


def standing_table(bundle: Bundle) -> LabelTable | None:
    """The bundle's label table; `None` where it has none yet."""
    if not bundle.labels.exists():
        return None
    return load_labels(bundle.labels, latents_of(load_bundle_saes(bundle)), bundle)


def check_target(path: Path, bundle: Bundle, table: LabelTable | None, *, replace: bool, standing: str) -> None:
    """Refuse to write the new table to `path` where that isn't possible, or would lose what was not to be replaced.

    Args:
        table: the bundle's.
        replace: whether the user allows to replace.
        standing: what the table holds of that which the command fills in, in words; empty for nothing.
    """
    require_writable(path.parent)
    if table is None or path.resolve() != bundle.labels.resolve():
        if path.exists() and not replace:
            raise TrackerError(f"{path} already exists. Replace it with --replace, or name another file with --out.")
        return
    if table.left_out:
        raise TrackerError(
            f"{path} has {table.left_out:,} rows of layers that are not chosen, which would be lost. Choose all "
            "layers, or name another file with --out."
        )
    if standing and not replace:
        raise TrackerError(
            f"{path} already holds {standing}. Replace them with --replace, or name another file with --out."
        )
