"""Neuronpedia's export and the answers of its API, with made-up features in its form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.labels.csv_files import load_labels, replace_table
from feature_tracker.labels.importers.merge import Merged, merge_sources
from feature_tracker.labels.importers.report import import_report
from feature_tracker.labels.importers.sources import find_sources
from feature_tracker.labels.importers.target import Target

TARGET = Target("tiny", {7: 20, 8: 20})


def explanation(text: Any = "oil", **more: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "description": text,
        "typeName": "np_max-act",
        "explanationModelName": "gpt",
        "scores": [],
    } | more


def feature(
    source: str = "8-res-x", index: str | int = "4", *explanations: dict[str, Any], **more: Any
) -> dict[str, Any]:
    return {
        "modelId": "gpt2-small", "layer": source, "index": index, "explanations": list(explanations),
        "activations": [{"tokens": ["a"], "values": [1.0]}], "hookName": None,
    } | more  # fmt: skip


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value) if path.suffix == ".json" else "\n".join(map(json.dumps, value)))
    return path


def merge(path: Path, value: Any) -> Merged:
    return merge_sources(find_sources([write(path, value)]).sources, TARGET)


SEARCH = {"results": [explanation() | feature() | {"neuron": feature("8-res-x", "4", explanation("other"))}]}
LIST = {
    "name": "l",
    "description": "my list",
    "neurons": [
        {"modelId": "gpt2-small", "layer": "8-res-x", "index": "4", "description": None,
         "neuron": feature("8-res-x", "4", explanation())}
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        feature("8-res-x", 4, explanation(), explanation("second")),
        [feature("8-res-x", "4", explanation())],
        [{"modelId": "gpt2-small", "layer": "8-res-x", "index": "4"} | explanation()],
        SEARCH,
        LIST,
        feature("8-res-x", "4", explanation("Explanation could not be parsed."), explanation(None), explanation()),
        feature("8-res-x", "4", explanation(), maxActApprox=10**400),
    ],
    ids=["feature", "features", "export", "search", "list", "failed", "digits"],
)
def test_answers_of_the_api_are_read(tmp_path: Path, answer: Any) -> None:
    assert merge(tmp_path / "a.json", answer).table.frame["label"].to_dict() == {(8, 4): "oil"}


def test_a_damaged_description_is_cleaned_and_the_import_goes_on(tmp_path: Path) -> None:
    texts = ["oil\rprices", "oil \ud83dprices", "oil\0 prices", "=oil prices"]
    merged = merge(tmp_path / "a.json", [feature("8-res-x", i, explanation(text)) for i, text in enumerate(texts)])
    replace_table(merged.table, tmp_path / "t.csv", TARGET.n_latents)
    labels = load_labels(tmp_path / "t.csv", TARGET.n_latents).frame["label"]
    assert labels.tolist() == [*["oil prices"] * 3, "=oil prices"]


def test_the_api_answers_one_a_line_are_read(tmp_path: Path) -> None:
    lines = [feature("8-res-x", str(index), explanation(f"oil {index}")) for index in range(3)]
    assert len(merge(tmp_path / "a.jsonl", lines).table.frame) == 3


def test_a_stream_before_a_block_belongs_to_the_layer_below_and_the_report_says_so(tmp_path: Path) -> None:
    merged = merge(tmp_path / "a.json", [feature("8-res-jb", "4", explanation())])
    assert list(merged.table.frame.index) == [(7, 4)]
    assert "8-res-jb reads the stream before block 8, which is layer 7 here" in import_report(merged, TARGET, [])


@pytest.mark.parametrize(
    "source", ["8", "8-res_mid_32k-oai", "8-att-kk", "8-gemmascope-mlp-16k", "8-clt-hp", "0-res-jb"]
)
def test_features_of_other_streams_are_rejected(tmp_path: Path, source: str) -> None:
    sound = feature("8-res-x", "5", explanation())
    merged = merge(tmp_path / "a.json", [feature(source, "4", explanation()), sound])
    assert list(merged.table.frame.index) == [(8, 5)]
    assert f"does not read the residual stream after a layer: 1\n  a.json, explanation 1, found '{source}'" in (
        import_report(merged, TARGET, [])
    )


@pytest.mark.parametrize(
    ("hook", "source", "layer"),
    [
        ("blocks.8.hook_resid_pre", "8-res-x", 7),
        ("blocks.8.hook_resid_post", "8-res-x", 8),
        ("blocks.8.hook_resid_post", "8-unheard-of", 8),
        ("blocks.7.hook_resid_post", "8-res-jb", 7),
        ("layer_8/width_16k/canonical", "8-res-x", 8),
    ],
)
def test_a_hook_says_what_the_name_of_a_source_leaves_open(tmp_path: Path, hook: str, source: str, layer: int) -> None:
    answer = feature(source, "4", explanation()) | {"source": {"id": source, "saelensSaeId": hook}}
    assert list(merge(tmp_path / "a.json", answer).table.frame.index) == [(layer, 4)]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"source": {"saelensSaeId": "blocks.8.hook_resid_post"}},
            "saelensSaeId says blocks.8.hook_resid_post.*8-res-jb",
        ),
        ({"source": {"saelensConfig": {"hook_name": "blocks.9.hook_resid_pre"}}}, "blocks.9.hook_resid_pre.*8-res-jb"),
        ({"hookName": "blocks.8.hook_mlp_out"}, "hookName says blocks.8.hook_mlp_out.*8-res-jb"),
        ({"source": {"id": "9-res-jb"}}, "source.id says 9-res-jb, and layer says 8-res-jb"),
        ({"sourceSetName": "att-kk"}, "sourceSetName says att-kk, and layer says 8-res-jb"),
        ({"source": {"modelId": "gemma-2b"}}, "source.modelId says gemma-2b, and modelId says gpt2-small"),
        ({"explanations": [explanation(index="5")]}, "index says 5, and around it index says 4"),
    ],
)
def test_contradictions_are_refused_with_both_named(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(TrackerError, match=said):
        merge(tmp_path / "a.json", feature("8-res-jb", "4", explanation()) | more)


def test_a_folder_of_another_source_is_refused(tmp_path: Path) -> None:
    for folder in ("8-res-jb", "2024-labels"):
        (tmp_path / folder).mkdir()
        assert merge(tmp_path / folder / "a.json", feature("8-res-jb", "4", explanation())).tallies[0].used == 1
    with pytest.raises(TrackerError, match="layer says 9-res-jb, and the folder says 8-res-jb"):
        merge(tmp_path / "8-res-jb" / "a.json", feature("9-res-jb", "4", explanation()))


@pytest.mark.parametrize("index", ["1" * 30, "1" * 5000, "-1", "x", "٣"])
def test_an_index_that_is_none_costs_its_explanation_alone(tmp_path: Path, index: str) -> None:
    merged = merge(tmp_path / "a.jsonl", [feature("8-res-x", i, explanation()) for i in (index, "5")])
    assert list(merged.table.frame.index) == [(8, 5)]
    assert merged.tallies[0].rejected.total() == 1


def test_json_is_bounded_before_it_is_parsed(tmp_path: Path) -> None:
    large, deep = tmp_path / "large.json", tmp_path / "deep.json"
    with large.open("wb") as file:
        file.truncate(24 * 2**20 + 1)
    deep.write_text("[" * 100_000)
    for path, said in ((large, "more than 25,165,824 bytes"), (deep, "nested too deeply")):
        with pytest.raises(TrackerError, match=said):
            find_sources([path])
    write(tmp_path / "a.json", [feature("8-res-x", "4", explanation())])
    assert [path.name for path in find_sources([tmp_path]).left_out] == ["deep.json", "large.json"]
    (tmp_path / "b.json").write_bytes(json.dumps(feature("8-res-x", "4", explanation())).encode("utf-16"))
    assert len(find_sources([tmp_path / "b.json"]).sources) == 1
