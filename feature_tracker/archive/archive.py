"""Open an archive and ask it: tables and matrices from disk, never all of it in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from feature_tracker.archive.schema import ACTIVATIONS, DOCUMENTS, FEATURES, TOKENS, UNREAD, Manifest
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature

Measure = Literal["max", "mean", "root_mean", "share"]

_TABLES = {"documents": DOCUMENTS, "tokens": TOKENS, "features": FEATURES, "unread": UNREAD}


@dataclass(frozen=True, eq=False)
class Archive:
    """An archive on disk.

    Attributes:
        folder: where it lies.
        manifest: what it was made with.
        n_parts: parts that are finished; others are not looked at.
    """

    folder: Path
    manifest: Manifest
    n_parts: int

    @classmethod
    def open(cls, folder: Path) -> Archive:
        """Open an archive, finished or not.

        Raises:
            TrackerError: it is none, or of another version.
        """
        manifest = Manifest.load(folder)
        return cls(folder, manifest, len(list((folder / "parts").glob("*.json"))))

    def dataset(self, name: Literal["documents", "tokens", "features", "unread"]) -> ds.Dataset:
        """One of the tables, as a pyarrow data set; see `archive.schema`."""
        return self._dataset(self.folder / name, _TABLES[name])

    def activations(self, layer: int) -> ds.Dataset:
        """One layer's activations, as a pyarrow data set; see `archive.schema.ACTIVATIONS`."""
        return self._dataset(self.folder / "activations" / f"layer={layer}", ACTIVATIONS)

    def _dataset(self, folder: Path, schema: pa.Schema) -> ds.Dataset:
        paths = [str(folder / f"part-{part:05}.parquet") for part in range(self.n_parts)]
        try:
            return ds.dataset(paths, schema=schema, format="parquet")
        except (OSError, pa.ArrowInvalid) as error:
            raise TrackerError(
                f"{folder} is damaged ({error}). Copy the archive again, or run the documents again into a new folder."
            ) from None

    @cached_property
    def documents(self) -> pd.DataFrame:
        """One row a document, without `text`; see `archive.schema.DOCUMENTS`."""
        columns = [name for name in DOCUMENTS.names if name != "text"]
        return self.dataset("documents").to_table(columns=columns).to_pandas()

    @cached_property
    def features(self) -> list[Feature]:
        """All features, in the order of a matrix's columns: by layer, then latent."""
        return [
            Feature(layer, index) for layer in self.manifest.layers for index in range(self.manifest.n_latents[layer])
        ]

    def matrix(self, measure: Measure) -> np.ndarray:
        """(n_documents, n_features) float32, one of the measures of `archive.schema.FEATURES`; 0 where nothing fires.

        Columns are in the order of `features`. 5,000 documents of 2,000 features take 40 MB.
        """
        starts = dict(zip(self.manifest.layers, np.cumsum([0, *self._latents[:-1]]), strict=True))
        start_of = np.zeros(max(starts, default=0) + 1, dtype=np.int64)
        start_of[list(starts)] = list(starts.values())
        values = np.zeros((len(self.documents), sum(self._latents)), dtype=np.float32)
        for batch in self.dataset("features").to_batches(columns=["document", "layer", "feature", measure]):
            document, layer, feature, value = (batch.column(n).to_numpy(zero_copy_only=False) for n in range(4))
            values[document, start_of[layer] + feature] = value
        return values

    @property
    def _latents(self) -> list[int]:
        return [self.manifest.n_latents[layer] for layer in self.manifest.layers]

    def texts(self, documents: Sequence[int]) -> dict[int, str]:
        """The text of some documents, by number."""
        wanted = pc.field("document").isin([int(number) for number in documents])
        table = self.dataset("documents").to_table(columns=["document", "text"], filter=wanted)
        return dict(zip(table["document"].to_pylist(), table["text"].to_pylist(), strict=True))
