from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_tracker.archive.archive import Archive
from feature_tracker.archive.correlation import correlate_archive
from feature_tracker.archive.selection import FEWEST
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from tests.archive.made import write_archive

LINKED = {Feature(10, 3): Feature(4, 2), Feature(16, 0): Feature(4, 5)}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("correlation") / "archive"
    return write_archive(
        folder, n_documents=70, n_latents={4: 20, 10: 25, 16: 10}, documents_a_part=25, linked=LINKED, sinks=0.05
    )


def columns_of(archive: Archive, layer: int) -> np.ndarray:
    """(n_counted, n_latents) activations on all tokens that are no attention sinks, at once."""
    tokens = archive.dataset("tokens").to_table().to_pandas()
    assert (tokens["token"] == np.arange(len(tokens))).all()
    dense = np.zeros((len(tokens), archive.manifest.n_latents[layer]))
    rows = archive.activations(layer).to_table().to_pandas()
    dense[rows["token"], rows["feature"]] = rows["activation"]
    return dense[~tokens["attention_sink"].to_numpy()]


@pytest.mark.parametrize(("a", "b"), [(4, 10), (4, 16), (10, 16)])
def test_sums_over_parts_give_numpys_r_on_the_whole(archive: Archive, a: int, b: int) -> None:
    left, right = columns_of(archive, a), columns_of(archive, b)
    expected = np.corrcoef(np.hstack([left, right]), rowvar=False)[: left.shape[1], left.shape[1] :]
    correlation = correlate_archive(archive)
    assert correlation.n_tokens == len(left) == archive.documents["n_counted"].sum()
    np.testing.assert_allclose(correlation.r[a, b], expected, atol=1e-6)


def test_one_features_correlations_are_those_among_all(archive: Archive) -> None:
    every, one = correlate_archive(archive), correlate_archive(archive, Feature(10, 3))
    np.testing.assert_allclose(one.r[4, 10], every.r[4, 10][:, [3]], atol=1e-12)
    np.testing.assert_allclose(one.r[10, 16], every.r[10, 16][[3]], atol=1e-12)
    assert (4, 16) not in one.r
    assert one.n_pairs == 20 + 10
    top = one.strongest(1).iloc[0]
    assert tuple(top[["source_layer", "source_feature", "target_layer", "target_feature"]]) == (4, 2, 10, 3)


def test_linked_features_come_first_and_chance_gives_none_as_strong(archive: Archive) -> None:
    pairs = correlate_archive(archive).strongest(40)
    found = {
        Feature(row.target_layer, row.target_feature): Feature(row.source_layer, row.source_feature)
        for row in pairs.head(2).itertuples()
    }
    assert found == LINKED
    assert (pairs["chance"].head(2) == 0).all()
    # Of unlinked features, shifting the layers gives about as many pairs as strong as there are.
    assert pairs["chance"].iloc[-1] == pytest.approx(38, abs=25)


def test_a_feature_of_few_documents_is_not_judged(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", n_documents=4, linked={Feature(10, 3): Feature(4, 2)})
    correlation = correlate_archive(archive)
    assert len(archive.documents) < FEWEST
    assert correlation.n_pairs == 0
    assert correlation.strongest(5).empty


def test_a_feature_that_never_fires_has_no_r(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", lifted={Feature(4, 1): ("bank", 1e-9)}, groups=["bank"])
    correlation = correlate_archive(archive)
    assert np.isnan(correlation.r[4, 10][1]).all()
    assert np.isfinite(correlation.r[4, 10][2]).any()
    assert (correlation.strongest(1000)["source_feature"] != 1).all()


def test_memory_does_not_grow_with_the_number_of_parts(tmp_path: Path) -> None:
    peaks = []
    for n_documents in (40, 400):
        archive = write_archive(tmp_path / str(n_documents), n_documents=n_documents, documents_a_part=20)
        tracemalloc.start()
        correlate_archive(archive)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]


def test_files_in_half_precision_are_read_as_the_schema_has_them(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "archive", n_documents=20)
    expected = correlate_archive(archive).r[4, 10]
    for path in (archive.folder / "activations").glob("*/*.parquet"):
        table = pq.read_table(path, partitioning=None)
        half = table["activation"].cast(pa.float16(), safe=False)
        pq.write_table(table.set_column(3, "activation", half), path)
    np.testing.assert_allclose(correlate_archive(archive).r[4, 10], expected, atol=1e-3)


def test_one_layer_and_too_many_pairs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrackerError, match="one layer only"):
        correlate_archive(write_archive(tmp_path / "one", n_latents={4: 10}))
    monkeypatch.setattr("feature_tracker.archive.correlation._MOST_BYTES", 1000)
    with pytest.raises(TrackerError, match="Name one feature"):
        correlate_archive(write_archive(tmp_path / "two"))
