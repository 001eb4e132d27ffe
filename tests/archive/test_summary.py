"""Tables over all documents against everything at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feature_tracker.archive import parts, summary
from feature_tracker.archive.archive import Archive
from feature_tracker.archive.inputs import Inputs
from feature_tracker.archive.run import run_corpus
from feature_tracker.archive.schema import SIGNIFICANT_BITS
from feature_tracker.tracker import Tracker
from tests.support import SENTENCES

N_DOCUMENTS = 25


@pytest.fixture(scope="module")
def archive(tiny_tracker: Tracker, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    (folder / "in").mkdir()
    for number in range(N_DOCUMENTS):
        (folder / "in" / f"{number:02}.txt").write_text(SENTENCES[11 * number : 11 * number + 200])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "PART_CHARACTERS", 900)
        run_corpus(tiny_tracker, Inputs(paths=(folder / "in",)), folder / "out")
    return Archive.open(folder / "out")


@pytest.fixture(scope="module")
def firing(archive: Archive) -> pd.DataFrame:
    """All activations on counted tokens."""
    tokens = archive.dataset("tokens").to_table().to_pandas()
    counted = tokens.loc[~tokens["attention_sink"], ["token"]]
    layers = [
        archive.activations(layer).to_table().to_pandas().merge(counted, on="token").assign(layer=layer)
        for layer in archive.manifest.layers
    ]
    return pd.concat(layers)


def test_statistics_are_those_of_all_activations_at_once(archive: Archive, firing: pd.DataFrame) -> None:
    statistics = pd.read_parquet(archive.folder / "statistics.parquet").set_index(["layer", "feature"])
    assert list(statistics.index) == [tuple(feature) for feature in archive.features]
    n_counted = archive.documents["n_counted"].sum()
    groups = firing.groupby(["layer", "feature"])
    by_feature = pd.DataFrame(
        {
            "n_documents": groups["document"].nunique(),
            "density": groups.size() / n_counted,
            "mean": groups["activation"].sum() / n_counted,
            **{f"q{share}": groups["activation"].quantile(share / 100) for share in (50, 90, 99)},
            "max": groups["activation"].max(),
        }
    ).reindex(statistics.index, fill_value=0.0)
    assert (by_feature["density"] == 0).any() and (by_feature["density"] > 0).any()
    pd.testing.assert_frame_equal(statistics, by_feature[statistics.columns], check_dtype=False, rtol=1e-5, atol=1e-7)


def test_top_excerpts_are_the_strongest_of_different_documents(archive: Archive, firing: pd.DataFrame) -> None:
    excerpts = pd.read_parquet(archive.folder / "excerpts.parquet")
    top = excerpts[excerpts["kind"] == "top"]
    strongest = firing.groupby(["layer", "feature", "document"])["activation"].max().reset_index()
    for key, rows in strongest.groupby(["layer", "feature"]):
        its = top[(top["layer"] == key[0]) & (top["feature"] == key[1])]
        expected = rows["activation"].nlargest(summary.TOP).to_numpy()
        np.testing.assert_allclose(its["activation"], expected, rtol=2**-SIGNIFICANT_BITS)
        assert its["document"].is_unique and its["activation"].is_monotonic_decreasing


def test_spread_excerpts_are_at_other_strengths_down_to_the_weakest(archive: Archive, firing: pd.DataFrame) -> None:
    excerpts = pd.read_parquet(archive.folder / "excerpts.parquet")
    keys = ["layer", "feature", "document", "token"]
    assert not excerpts.duplicated(keys).any()
    spread = excerpts[excerpts["kind"] == "spread"]
    known = spread.merge(firing, on=keys, suffixes=("", "_stored"))
    assert len(known) == len(spread) and (known["activation"] == known["activation_stored"]).all()
    for key, rows in spread.groupby(["layer", "feature"]):
        assert len(rows) <= summary.SPREAD
        half_octaves = np.floor(2 * np.log2(rows["activation"]))  # near enough to those of the bits
        assert half_octaves.nunique() >= len(rows) - 2
        shown, all_of_it = (
            table[(table["layer"] == key[0]) & (table["feature"] == key[1])]["activation"]
            for table in (excerpts, firing)
        )
        assert shown.min() < 1.5 * all_of_it.min()  # half an octave is from 1 to 1.5, or from 1.5 to 2
    assert len(spread) > 50


def test_the_tables_do_not_depend_on_parts_blocks_of_latents_or_batches(
    archive: Archive, tiny_tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once = summary.summarize(archive)
    monkeypatch.setattr(summary, "_LATENTS_AT_ONCE", 7)
    monkeypatch.setattr(summary, "_ROWS_AT_ONCE", 50)
    in_blocks = summary.summarize(archive)
    assert at_once.statistics.equals(in_blocks.statistics) and at_once.excerpts.equals(in_blocks.excerpts)
    run_corpus(tiny_tracker, Inputs(paths=(archive.folder.parent / "in",)), tmp_path)
    in_one_part = summary.summarize(Archive.open(tmp_path))
    pd.testing.assert_frame_equal(
        at_once.statistics.to_pandas(), in_one_part.statistics.to_pandas(), rtol=0.01, atol=1e-6
    )  # other batches round otherwise
