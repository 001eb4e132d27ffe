"""All that tracing a text needs, loaded and checked against each other: model, SAEs and labels of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.bundles.missing import require_parts
from feature_tracker.errors import TrackerError
from feature_tracker.labels.importers.sources import recognize
from feature_tracker.labels.table import COLUMNS, KEYS, UNLABELLED, LabelTable, latents_of, load_labels
from feature_tracker.model.fetching import ensure_model_folder
from feature_tracker.model.load import LanguageModel, load_model, model_width
from feature_tracker.progress import Progress, silent
from feature_tracker.sae.load import load_saes
from feature_tracker.sae.topk import Sae


@dataclass(frozen=True)
class Parts:
    """What belongs together, in memory.

    Attributes:
        bundle: its window is no longer than the model's.
        language_model: ready to trace.
        saes: by layer, each where its layer's residual stream lies.
        labels: the bundle's table, or one in which every feature is unlabelled.
    """

    bundle: Bundle
    language_model: LanguageModel
    saes: dict[int, Sae]
    labels: LabelTable


def load_parts(bundle: Bundle, progress: Progress = silent, *, dtype: str | None = None) -> Parts:
    """Load a bundle; its model is fetched where it isn't on this machine.

    SAEs and labels are checked against the model's configuration before its gigabytes are read.

    Args:
        dtype: another than the bundle's, see `Bundle.dtype`.

    Raises:
        TrackerError: a part is missing, damaged or belongs to another bundle.
    """
    require_parts(bundle)
    d_model = model_width(ensure_model_folder(bundle, progress), bundle.layers)
    saes = load_saes(bundle.sae_folder, bundle.layers, d_model=d_model)
    labels = open_labels(bundle, saes)
    language_model = load_model(bundle, progress, dtype=dtype)
    placed = {layer: sae.to(language_model.layer_device(layer)) for layer, sae in saes.items()}
    fitted = replace(bundle, window=language_model.window(bundle.window))
    return Parts(fitted, language_model, placed, labels)


def open_labels(bundle: Bundle, saes: Mapping[int, Sae]) -> LabelTable:
    """A bundle's label table; where there is none yet, every feature is unlabelled.

    Raises:
        TrackerError: the file is another tool's, is damaged, or belongs to another bundle or other SAEs.
    """
    path = bundle.labels
    if not path.exists():
        return _unlabelled(saes)
    raw = None if path.is_dir() else recognize(path)
    if raw or path.is_dir():
        raise TrackerError(
            f"{path} is no label table of this project but a {raw.kind if raw else 'folder'}. Import it: "
            f'feature-tracker labels import "{path}" --bundle {bundle.name} --out labels/{bundle.name}.csv'
        )
    return load_labels(path, latents_of(saes), bundle)


def _unlabelled(saes: Mapping[int, Sae]) -> LabelTable:
    index = pd.MultiIndex.from_tuples(
        [(layer, latent) for layer, sae in saes.items() for latent in range(sae.n_latents)], names=KEYS
    )
    frame = pd.DataFrame(float("nan"), index=index, columns=COLUMNS)
    return LabelTable(frame.assign(label=UNLABELLED, f1_method="", rule="")[COLUMNS])
