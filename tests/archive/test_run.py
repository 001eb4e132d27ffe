"""A run against single traces, and runs that go on after others."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner
from filelock import FileLock

from feature_tracker.archive import parts
from feature_tracker.archive.archive import Archive
from feature_tracker.archive.inputs import Inputs
from feature_tracker.archive.run import RunReport, run_corpus
from feature_tracker.archive.schema import ACTIVATIONS, SIGNIFICANT_BITS
from feature_tracker.archive.tables import rounded
from feature_tracker.cli.corpus import main as corpus
from feature_tracker.errors import TrackerError
from feature_tracker.tracing.rank import aggregate
from feature_tracker.tracker import Tracker
from tests.support import SENTENCES, Interrupted, interrupted_after, random_sae

N_FILES = 12


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder of documents of one to many windows, and two that can't be read."""
    folder = tmp_path / "documents"
    folder.mkdir()
    for number in range(N_FILES):
        text = "Rates rose." if number == 3 else SENTENCES[7 * number : 7 * number + 60 * (number % 5 + 1)]
        (folder / f"{number:02}.txt").write_text(text)
    (folder / "04b.txt").write_text(" ")
    (folder / "zz.pdf").write_text("no PDF")
    return folder


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_CHARACTERS", 500)


def run(tracker: Tracker, documents: Path, out: Path) -> RunReport:
    return run_corpus(tracker, Inputs(paths=(documents,), leave_out=out), out)


def tables_in(folder: Path) -> dict[str, pa.Table]:
    return {path.relative_to(folder).as_posix(): pq.read_table(path) for path in sorted(folder.rglob("*.parquet"))}


def rows_of(folder: Path, name: str) -> pd.DataFrame:
    return Archive.open(folder).dataset(name).to_table().to_pandas()


def assert_same(folder: Path, other: Path) -> None:
    tables, others = tables_in(folder), tables_in(other)
    assert tables.keys() == others.keys()
    for name, table in tables.items():
        assert table.equals(others[name]), name
    assert sorted(path.name for path in folder.rglob("*")) == sorted(path.name for path in other.rglob("*"))


def test_an_archive_has_what_a_trace_of_each_document_has(
    tiny_tracker: Tracker, documents: Path, tmp_path: Path
) -> None:
    run(tiny_tracker, documents, tmp_path / "out")
    archive = Archive.open(tmp_path / "out")
    assert archive.n_parts > 2
    assert archive.documents["name"].tolist() == [f"{number:02}.txt" for number in range(N_FILES)]
    tokens, features = rows_of(tmp_path / "out", "tokens"), rows_of(tmp_path / "out", "features")
    for number, text in archive.texts(range(N_FILES)).items():
        trace = tiny_tracker.trace(text)
        its = tokens[tokens["document"] == number]
        assert its["token_id"].tolist() == trace.tokens.ids.tolist()
        assert its[["start", "end"]].to_numpy().tolist() == trace.tokens.offsets.tolist()
        assert np.flatnonzero(~its["attention_sink"]).tolist() == trace.counted.tolist()
        assert archive.documents.loc[number, ["n_tokens", "n_counted"]].tolist() == [trace.n_tokens, len(trace.counted)]
        for layer in archive.manifest.layers:
            rows = archive.activations(layer).to_table().to_pandas()
            rows = rows[rows["document"] == number]
            dense, stored = trace.layers[layer].dense(), np.zeros((trace.n_tokens, 40), np.float32)
            first = archive.documents["first_token"][number]
            stored[rows["token"] - first, rows["feature"]] = rows["activation"]
            np.testing.assert_allclose(stored, dense, rtol=2**-SIGNIFICANT_BITS, atol=1e-6)
            counted = dense[trace.counted]
            row = features[(features["document"] == number) & (features["layer"] == layer)].set_index("feature")
            fires = np.flatnonzero(counted.any(axis=0))
            assert row.index.tolist() == fires.tolist()
            for measure in ("max", "mean", "share"):
                np.testing.assert_allclose(row[measure], aggregate(counted, measure)[fires], rtol=1e-4, atol=1e-6)
            root = aggregate(np.sqrt(counted), "mean")[fires]
            np.testing.assert_allclose(row["root_mean"], root, rtol=1e-4, atol=1e-6)
            at_peak = dense[row["peak"] - first, fires]
            np.testing.assert_allclose(at_peak, row["max"], rtol=1e-5)


def test_activations_are_sorted_and_rounded(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    run(tiny_tracker, documents, tmp_path / "out")
    archive = Archive.open(tmp_path / "out")
    tokens = rows_of(tmp_path / "out", "tokens")
    assert (tokens["token"] == np.arange(len(tokens))).all()
    for layer in archive.manifest.layers:
        for fragment in archive.activations(layer).get_fragments():
            rows = fragment.to_table(schema=ACTIVATIONS).to_pandas()
            assert rows.equals(rows.sort_values(["feature", "document", "token"], kind="stable"))
            assert (rows["activation"] > 0).all()
            assert (rows["activation"].to_numpy().view(np.uint32) & 0x1FFFF == 0).all()
            assert (tokens["document"].iloc[rows["token"]].to_numpy() == rows["document"]).all()


def test_activations_that_half_precision_does_not_have_are_kept(
    tiny_tracker: Tracker, documents: Path, tmp_path: Path
) -> None:
    saes = {layer: replace(sae, encoder_weight=sae.encoder_weight * 1e6) for layer, sae in tiny_tracker.saes.items()}
    tracker = replace(tiny_tracker, saes=saes)
    run(tracker, documents, tmp_path / "out")
    largest = pc.max(Archive.open(tmp_path / "out").activations(1).to_table()["activation"]).as_py()
    texts = Archive.open(tmp_path / "out").texts(range(N_FILES)).values()
    assert largest == pytest.approx(max(tracker.trace(text).layers[1].values.max() for text in texts), rel=0.01)
    assert largest > 65_504


def test_activations_are_rounded_to_the_nearest_of_seven_bits_ties_to_even() -> None:
    values = np.random.default_rng(0).exponential(size=1000).astype(np.float32)
    values[:3] = [1 + 2**-7, 1 + 3 * 2**-7, 2 - 2**-8]
    mantissa, exponent = np.frexp(values.astype(float))
    assert (rounded(values) == np.ldexp(np.rint(mantissa * 2**7), exponent - 7)).all()
    assert rounded(values)[:3].tolist() == [1, 1 + 2**-5, 2]


def test_an_sae_without_k_and_a_model_without_bos_are_archived(
    tiny_tracker: Tracker, documents: Path, tmp_path: Path
) -> None:
    saes = {layer: replace(random_sae(32, seed=layer), activation="relu", k=40) for layer in (1, 3)}
    language_model = replace(tiny_tracker.language_model, prepend_bos=False)
    tracker = replace(tiny_tracker, saes=saes, language_model=language_model)
    run(tracker, documents, tmp_path / "out")
    trace = tracker.trace(Archive.open(tmp_path / "out").texts([9])[9])
    rows = Archive.open(tmp_path / "out").activations(3).to_table().to_pandas()
    rows = rows[rows["document"] == 9]
    np.testing.assert_allclose(rows["activation"].sum(), trace.layers[3].values.sum(), rtol=1e-3)
    assert len(rows) == np.count_nonzero(trace.layers[3].values)


def test_windows_of_one_length_share_a_batch(
    tiny_tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART_CHARACTERS", 250_000)
    tracker = replace(tiny_tracker, bundle=replace(tiny_tracker.bundle, window=256))
    (tmp_path / "in").mkdir()
    lengths = np.random.default_rng(0).integers(20, 900, 300)
    for number, length in enumerate(lengths):
        (tmp_path / "in" / f"{number}.txt").write_text(SENTENCES[:length])
    report = run(tracker, tmp_path / "in", tmp_path / "out")
    n_windows = sum(-(-n // 255) for n in Archive.open(tmp_path / "out").documents["n_tokens"])
    assert report.n_positions < 1.05 * (report.n_tokens + n_windows)


def test_a_run_that_was_interrupted_goes_on_and_is_as_an_undisturbed_one(
    tiny_tracker: Tracker, documents: Path, tmp_path: Path
) -> None:
    run(tiny_tracker, documents, tmp_path / "undisturbed")
    for n_forwards in range(6):
        out = tmp_path / f"out{n_forwards}"
        with interrupted_after(n_forwards, tiny_tracker.language_model), pytest.raises(Interrupted):
            run(tiny_tracker, documents, out)
        run(tiny_tracker, documents, out)
        assert_same(out, tmp_path / "undisturbed")


def test_an_archive_is_the_same_on_any_number_of_cores(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        for n_cores in (1, 2, 4):
            torch.set_num_threads(n_cores)
            run(tiny_tracker, documents, tmp_path / str(n_cores))
    finally:
        torch.set_num_threads(before)
    assert_same(tmp_path / "1", tmp_path / "2")
    assert_same(tmp_path / "1", tmp_path / "4")


def test_documents_that_came_since_are_added_in_new_parts(
    tiny_tracker: Tracker, documents: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(tiny_tracker, documents, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("part-*")}
    n_parts = Archive.open(out).n_parts
    (documents / "00a.txt").write_text(SENTENCES[:99])  # before others by name
    (documents / "sub").mkdir()
    (documents / "sub" / "00.txt").write_text("Prices fell.")
    report = run(tiny_tracker, documents, out)
    archive = Archive.open(out)
    assert (report.n_documents, report.n_before, archive.n_parts) == (2, N_FILES, n_parts + 1)
    assert archive.documents["name"].tolist()[-2:] == ["00a.txt", "sub/00.txt"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert rows_of(out, "unread")["name"].tolist() == ["04b.txt", "zz.pdf"]
    n_counted = archive.documents["n_counted"].sum()
    firing = pd.concat([archive.activations(layer).to_table().to_pandas() for layer in archive.manifest.layers])
    statistics = pd.read_parquet(out / "statistics.parquet")
    assert statistics["density"].sum() * n_counted <= len(firing)
    assert statistics["n_documents"].max() == N_FILES + 2


def test_nothing_new_leaves_the_archive_as_it_is(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    run(tiny_tracker, documents, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")}
    report = run(tiny_tracker, documents, tmp_path / "out")
    assert report.n_documents == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.parquet")} == before


def test_a_summary_that_was_not_written_is_made_up_for(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    run(tiny_tracker, documents, tmp_path / "undisturbed")
    shutil.copytree(tmp_path / "undisturbed", tmp_path / "out")
    (tmp_path / "out" / "excerpts.parquet").unlink()
    run(tiny_tracker, documents, tmp_path / "out")
    assert_same(tmp_path / "out", tmp_path / "undisturbed")


def test_an_input_that_is_met_twice_is_read_once(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    inputs = Inputs(paths=(documents / "01.txt", documents, documents / "02.txt"))
    run_corpus(tiny_tracker, inputs, tmp_path / "out")
    assert sorted(Archive.open(tmp_path / "out").documents["name"]) == [f"{number:02}.txt" for number in range(N_FILES)]


def test_two_documents_of_one_name_are_both_kept(tiny_tracker: Tracker, tmp_path: Path) -> None:
    lines = [{"text": f"Sales rose in {place}.", "name": "Acme"} for place in ("Europe", "Asia")]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run_corpus(tiny_tracker, Inputs(paths=(tmp_path / "a.jsonl",)), tmp_path / "out")
    assert Archive.open(tmp_path / "out").documents["name"].tolist() == ["Acme", "Acme (2)"]


def test_documents_none_of_which_can_be_read_are_listed(tiny_tracker: Tracker, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.pdf").write_text("no PDF")
    report = run(tiny_tracker, tmp_path / "in", tmp_path / "out")
    assert report.unread.total() == 1 and report.n_documents == 0
    archive = Archive.open(tmp_path / "out")
    assert len(archive.documents) == 0 and archive.matrix("max").shape == (0, 120)
    assert not pd.read_parquet(tmp_path / "out" / "statistics.parquet")["density"].any()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tracker: replace(tracker, bundle=replace(tracker.bundle, name="other")), "bundle tiny, not other"),
        (lambda tracker: replace(tracker, bundle=replace(tracker.bundle, window=8)), "window 16, not 8"),
        (lambda tracker: replace(tracker, saes={1: tracker.saes[1]}), "n_latents"),
        (lambda tracker: replace(tracker, saes=tracker.saes | {1: random_sae(32, seed=9)}), "fingerprint"),
    ],
)
def test_an_archive_of_something_else_is_refused_by_the_difference(
    tiny_tracker: Tracker, documents: Path, tmp_path: Path, change: Callable[[Tracker], Tracker], said: str
) -> None:
    run(tiny_tracker, documents, tmp_path / "out")
    before = tables_in(tmp_path / "out")
    with pytest.raises(TrackerError, match=said):
        run(change(tiny_tracker), documents, tmp_path / "out")
    assert tables_in(tmp_path / "out") == before


def test_an_archive_of_an_older_schema_is_refused(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    run(tiny_tracker, documents, tmp_path / "out")
    path = tmp_path / "out" / "archive.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 0}))
    with pytest.raises(TrackerError, match="is of version 0; this program reads version 2"):
        run(tiny_tracker, documents, tmp_path / "out")


def test_a_folder_of_other_files_is_refused(tiny_tracker: Tracker, documents: Path) -> None:
    with pytest.raises(TrackerError, match="holds other files and no archive"):
        run(tiny_tracker, documents, documents)


def test_a_second_run_into_one_archive_is_refused(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    run(tiny_tracker, documents, tmp_path / "out")
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(TrackerError, match="Another run is writing"):
        run(tiny_tracker, documents, tmp_path / "out")


def test_a_missing_part_is_told(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    run(tiny_tracker, documents, tmp_path / "out")
    (tmp_path / "out" / "parts" / "00001.json").unlink()
    with pytest.raises(TrackerError, match="of its parts some are missing"):
        run(tiny_tracker, documents, tmp_path / "out")


def test_a_full_disk_is_told_and_gone_on_from(tiny_tracker: Tracker, documents: Path, tmp_path: Path) -> None:
    run(tiny_tracker, documents, tmp_path / "undisturbed")
    (documents / "00.txt").rename(documents / "zz.txt")
    (documents / "zz.txt").write_text(SENTENCES * 400)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # larger files are refused, as by a full disk
    try:
        with pytest.raises(TrackerError, match=r"can't be written .* run the same command again"):
            run(tiny_tracker, documents, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(Archive.open(tmp_path / "out").documents) == N_FILES - 1
    run(tiny_tracker, documents, tmp_path / "out")
    run(tiny_tracker, documents, tmp_path / "again")
    assert_same(tmp_path / "out", tmp_path / "again")


def test_the_command_sums_up_what_was_read_and_what_was_not(
    tiny_tracker: Tracker, documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tracker, "open", lambda *_, **__: tiny_tracker)
    arguments = ["run", str(documents), "--out", str(tmp_path / "out"), "--pattern", r"(?P<group>\d)\d"]
    result = CliRunner().invoke(corpus, arguments)
    assert result.exit_code == 0, result.output
    assert f"{N_FILES} documents were read" in result.stdout
    assert "2 could not be read" in result.stdout and "1: This file holds no text" in result.stdout
    assert "tokens/s" in result.stderr
    assert Archive.open(tmp_path / "out").documents["group"].tolist() == ["0"] * 10 + ["1"] * 2
    again = CliRunner().invoke(corpus, arguments)
    assert again.exit_code == 0 and "0 documents were read" in again.stdout
    refused = CliRunner().invoke(corpus, ["run", str(tmp_path / "absent"), "--out", str(tmp_path / "out")])
    assert refused.exit_code == 1 and "There is no file or folder" in refused.output
