"""The user's own labels, which replace those of a bundle's table and lie in a file of the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
from filelock import FileLock

from feature_tracker.bundles.settings import Environment
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.files import replacing
from feature_tracker.labels.columns import KEYS
from feature_tracker.labels.csv_files import guard, unguard
from feature_tracker.labels.table import LabelTable, with_rows, without_scores

LONGEST_LABEL = 100
_COLUMNS = ["saes", *KEYS, "label"]
"""`saes` is the fingerprint of the weights that the label was written for: the same feature of an SAE that was trained
anew is another one."""


def own_labels_path(bundle: str) -> Path:
    """Where the user's own labels of a bundle lie; the file need not exist yet."""
    return Environment().data_folder / "labels" / f"{bundle}.own.csv"


def load_own_labels(path: Path, saes: str) -> dict[Feature, str]:
    """The labels that were written for these SAEs; none where there is no file.

    Args:
        saes: fingerprint of the SAEs.

    Raises:
        TrackerError: the file is no table of own labels.
    """
    rows = _read(path)
    rows = rows[rows["saes"] == saes]
    return {Feature(*key): label for *key, label in rows[[*KEYS, "label"]].itertuples(index=False)}


def save_own_label(path: Path, saes: str, feature: Feature, label: str) -> None:
    """Write the user's own label of a feature into the file; an empty one gives the feature its old label back.

    Raises:
        TrackerError: the label is too long, or the file can't be read or written.
    """
    label = " ".join(label.split())
    if len(label) > LONGEST_LABEL:
        raise TrackerError(f"A label has at most {LONGEST_LABEL} characters; this one has {len(label):,}. Shorten it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):  # another session may write at the same time
        rows = _read(path)
        is_same = (rows["saes"] == saes) & (rows["layer"] == feature.layer) & (rows["feature"] == feature.index)
        rows = rows[~is_same]
        if label:
            rows.loc[len(rows.index)] = [saes, *feature, label]
        with replacing(path) as beside:
            rows.assign(label=guard(rows["label"].astype(str))).to_csv(beside, index=False, lineterminator="\n")


def with_own_labels(table: LabelTable, own: Mapping[Feature, str]) -> LabelTable:
    """A table with the user's own labels in place of its own; their scores were another label's and are gone.

    Own labels of features that the table has no row for are left out.
    """
    kept = {feature: label for feature, label in own.items() if tuple(feature) in table.frame.index}
    if not kept:
        return table
    index = pd.MultiIndex.from_tuples([tuple(feature) for feature in kept], names=KEYS)
    labels = pd.DataFrame({"label": list(kept.values())}, index=index)
    replaced = {feature: table.name(feature) for feature in kept}
    return replace(with_rows(without_scores(table, labels), labels), replaced=replaced, left_out=table.left_out)


def _read(path: Path) -> pd.DataFrame:
    try:
        rows = pd.read_csv(path, dtype={"saes": str, "label": str}, keep_default_na=False)
        rows = rows[_COLUMNS].astype(dict.fromkeys(KEYS, "int64"))
    except FileNotFoundError:
        return pd.DataFrame({"saes": [], "layer": [], "feature": [], "label": []}).astype(
            {"saes": str, "layer": "int64", "feature": "int64", "label": str}
        )
    except (ValueError, KeyError) as error:
        raise TrackerError(
            f"{path} should hold your own labels as a CSV table in UTF-8 with the columns {', '.join(_COLUMNS)}, and "
            f"doesn't ({error}). Mend it, or move it away to go on without them."
        ) from None
    except OSError as error:
        raise TrackerError(f"{path}, which holds your own labels, can't be read ({error.strerror}).") from None
    return rows.assign(label=unguard(rows["label"]))
