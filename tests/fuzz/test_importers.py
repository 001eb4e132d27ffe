"""Other tools' label files with anything in them: imported, or refused in a sentence within two seconds."""

from __future__ import annotations

import gzip
import json
import shutil
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from feature_tracker.errors import TrackerError
from feature_tracker.labels.csv_files import replace_table
from feature_tracker.labels.importers.cleaning import clean_label
from feature_tracker.labels.importers.failures import is_failure
from feature_tracker.labels.importers.merge import merge_sources
from feature_tracker.labels.importers.report import import_report
from feature_tracker.labels.importers.sources import find_sources
from feature_tracker.labels.importers.target import Target
from tests.fuzz import CASES

TARGET = Target("tiny", {1: 6, 3: 6}, models=("owner/tiny",))
FUZZ = settings(
    max_examples=CASES, deadline=2000, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LARGEST = 400 * 2**20  # bytes of memory
ANY = st.text(st.characters(codec=None, exclude_categories=[]), max_size=20)
DIRT = st.sampled_from(
    [
        "", "1", "3", "0", "-1", "1.0", "0,5", "0.5", "9" * 30, "9" * 5000, "nan", "1e999", "a\rb", "a\nb", "\0",
        "\ud800", '"', "'", "=1+1", "string", "None", "I'm sorry", "1-res-x", "1-res-jb", "1", "e-res-x",
        "blocks.1.hook_resid_pre", "tiny", "gpt2",
        "\\", "\\n" * 50, "Example 1:" * 50, "." * 300, " " * 300, "٣", ";", "\t", "layers.1",
    ]
)  # fmt: skip
WORDS = st.one_of(DIRT, ANY)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
HEADERS = (
    "layer,feature,label,f1_score",
    "layer,feature,label,f1_score,accuracy,precision,recall",
    "layer,feature,llm_label,domain_activation,general_activation,specialization",
    "Layer,Feature,Label,F1 Score,label,model,",
)


@st.composite
def csv_files(draw: st.DrawFn) -> tuple[str, bytes]:
    header = draw(st.sampled_from(HEADERS)).split(",")
    sound = {"label": "oil", "llm_label": "oil", "f1_score": "0.5", "model": "tiny"}
    rows = [header]
    for number in range(draw(st.integers(0, 5))):
        cells = ["1", str(number), *(sound.get(name.lower(), "0.5") for name in header[2:])]
        for place in draw(st.lists(st.integers(0, len(header)), max_size=3)):
            cells[place : place + 1] = [draw(WORDS)]
        rows.append(cells)
    delimiter, quote = draw(st.sampled_from([",", ";", "\t", "|"])), draw(st.sampled_from(["", "", '"']))
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(
        delimiter.join(f"{quote}{cell}{quote}" for cell in cells) for cells in rows
    )
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]))
    raw = text.encode(encoding, "replace" if encoding == "cp1252" else "surrogatepass")
    return draw(st.sampled_from(["a.csv", "features_layer1.csv", "b.TSV"])), raw


def mostly(sound: Any) -> st.SearchStrategy[Any]:
    return st.one_of(st.just(sound), st.just(sound), st.just(sound), VALUES)


EXPLANATIONS = st.fixed_dictionaries(
    {"modelId": mostly("tiny"), "layer": mostly("1-res-x"), "index": st.one_of(st.integers(0, 5), WORDS)},
    optional={
        "description": mostly("oil"),
        "explanations": st.lists(st.fixed_dictionaries({"description": mostly("oil")}), max_size=3) | VALUES,
        "neuron": VALUES, "source": st.dictionaries(st.sampled_from(["id", "modelId", "saelensSaeId"]), WORDS) | VALUES,
        "hookName": mostly(None), "sourceSetName": mostly("res-x"),
    },
)  # fmt: skip


@st.composite
def json_files(draw: st.DrawFn) -> tuple[str, bytes]:
    values = draw(st.lists(st.one_of(EXPLANATIONS, VALUES), max_size=4))
    name = draw(st.sampled_from(["a.json", "a.jsonl", "a.jsonl.gz"]))
    if name == "a.json":
        shape = draw(st.sampled_from([values, {"results": values}, {"neurons": values}, *values]))
        raw = json.dumps(shape).encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])))
    else:
        raw = "\n".join(map(json.dumps, values)).encode()
    raw = gzip.compress(raw, mtime=0) if name.endswith("gz") else raw
    return name, raw[: draw(st.one_of(st.none(), st.integers(0, len(raw))))]


RECORDS = st.lists(
    st.fixed_dictionaries({"prediction": st.sampled_from([True, False, None, -1, 1, 2])},
                          optional={"activating": st.booleans(), "ground_truth": VALUES, "text": WORDS}) | VALUES,
    max_size=6,
)  # fmt: skip


@st.composite
def delphi_runs(draw: st.DrawFn) -> dict[str, bytes]:
    """Files of a run by their paths in it."""
    files: dict[str, bytes] = {}
    for number in range(draw(st.integers(1, 3))):
        hookpoint = draw(
            st.sampled_from(["layers.1", ".model.layers.3", "layers.1.mlp", "layers." + "9" * 30, "x", "h.1"])
        )
        name = f"{hookpoint}_{draw(st.sampled_from(['latent', 'feature', 'x']))}{number}.txt"
        files[f"explanations/{name}"] = json.dumps(draw(mostly("oil"))).encode()
        files[f"scores/{draw(st.sampled_from(['fuzz', 'detection', 'embedding']))}/{name}"] = json.dumps(
            draw(RECORDS | VALUES)
        ).encode()
    config = {"model": draw(mostly("tiny")), "hookpoints": draw(mostly(["layers.1", "layers.3"]))}
    files["run_config.json"] = json.dumps(draw(mostly(config))).encode()
    spoiled = draw(st.sampled_from(sorted(files)))
    files[spoiled] = files[spoiled][: draw(st.one_of(st.none(), st.integers(0, len(files[spoiled]))))]
    return files


def import_files(folder: Path, files: dict[str, bytes], *, written: bool = True) -> None:
    """Import all files of a folder as the command does; a `TrackerError` is an answer.

    Args:
        written: write the table as well and read it again, which takes most of the time.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, raw in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(raw)
    try:
        found = find_sources([folder])
        merged = merge_sources(found.sources, TARGET)
        if written:
            replace_table(merged.table, folder / "table.csv", TARGET.n_latents)
    except TrackerError:
        return
    import_report(merged, TARGET, found.left_out).encode()
    assert all(not is_failure(label) for label in merged.table.frame["label"])


@FUZZ
@given(
    file=st.one_of(csv_files(), json_files(), st.tuples(st.sampled_from(["a.csv", "a.json"]), st.binary(max_size=300)))
)
def test_a_file_of_anything_is_imported_or_refused(
    tmp_path_factory: pytest.TempPathFactory, file: tuple[str, bytes]
) -> None:
    import_files(tmp_path_factory.getbasetemp() / "fuzzed", dict([file]))


@FUZZ
@given(run=delphi_runs())
def test_a_delphi_run_of_anything_is_imported_or_refused(
    tmp_path_factory: pytest.TempPathFactory, run: dict[str, bytes]
) -> None:
    import_files(
        tmp_path_factory.getbasetemp() / "fuzzed_run", {f"run/{name}": raw for name, raw in run.items()}, written=False
    )


@FUZZ
@given(parts=st.lists(WORDS, max_size=8), times=st.sampled_from([1, 1, 1, 500]))
def test_cleaning_ends_and_is_done_after_once(parts: list[str], times: int) -> None:
    once = clean_label(" ".join(parts) * times).text
    once.encode()
    assert "\n" not in once and len(once) <= 4000


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("a.json", b"[" * 2**20),
        ("a.json", b"[" + b"{}," * 2**16 + b"{}]"),
        ("a.jsonl.gz", gzip.compress(b'{"modelId": "' + b"x" * 2**26, mtime=0)),
        ("a.csv", b"layer,feature,label,f1_score\n" + b"," * 2**21),
        ("a.csv", b"layer,feature,label,f1_score\n1,0," + b" a" * 60_000 + b",0.5\n"),
        ("a.csv", b"layer,feature,label,f1_score\n1,0," + b"1. " * 40_000 + b",0.5\n"),
        ("a.csv", b"layer,feature,label,f1_score\n1,0,\x81" + b"\xff" * 2**20),
    ],
    ids=["deep", "objects", "bomb", "commas", "spaces", "sentences", "garbage"],
)
def test_a_file_made_to_cost_much_costs_little(tmp_path: Path, name: str, raw: bytes) -> None:
    tracemalloc.start()  # which takes three quarters of the time
    started = time.monotonic()
    import_files(tmp_path / "costly", {name: raw})
    taken, peak = time.monotonic() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 8
    assert peak < LARGEST
