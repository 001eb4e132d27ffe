from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from feature_tracker.compare.probe import Probed, labelled_sentences, mean_streams, pooled, read_probe
from feature_tracker.errors import TrackerError
from feature_tracker.model.hooks import read_residuals
from feature_tracker.tracker import Tracker

SUBJECTS = ("Rates", "Prices", "Sales", "Wages", "Costs", "Yields", "Loans", "Orders", "Exports", "Margins")
SENTENCES = [f"{subject} rose in the quarter." for subject in SUBJECTS] + [
    f"The board of {subject} met once." for subject in SUBJECTS
]
CLASSES = ["up"] * 10 + ["met"] * 10


@pytest.fixture(scope="module")
def probed(tiny_tracker: Tracker) -> Probed:
    return tiny_tracker.probe(SENTENCES, CLASSES, n_features=6)


def test_a_probe_reads_few_columns_and_is_scored_beside_others(probed: Probed) -> None:
    assert len(probed.probe.columns) == 6
    assert probed.probe.classes == ["met", "up"]
    assert probed.scores["read"].tolist()[0] == "features that the probe reads"
    assert len(probed.scores) == 4
    assert (probed.scores["f1"] > 0.8).all()  # the two kinds of sentence share no word but "the"


def test_a_probe_says_the_same_after_a_round_trip(tiny_tracker: Tracker, probed: Probed) -> None:
    again = read_probe(probed.probe.to_json(), "probe.json")
    table = tiny_tracker.apply(again, SENTENCES)
    assert (table["class"] == CLASSES).mean() > 0.9
    assert np.allclose(table[["p_met", "p_up"]].sum(axis=1), 1)
    assert table.equals(tiny_tracker.apply(probed.probe, SENTENCES))


def test_three_classes_have_three_weights(tiny_tracker: Tracker) -> None:
    sentences = [*SENTENCES, *(f"{subject} fell." for subject in SUBJECTS)]
    probed = tiny_tracker.probe(sentences, [*CLASSES, *["down"] * 10], n_features=8)
    assert {len(column.weights) for column in probed.probe.columns} == {3}
    table = tiny_tracker.apply(probed.probe, sentences)
    assert (table["class"] == [*CLASSES, *["down"] * 10]).mean() > 0.9


def test_a_probe_of_other_weights_is_refused(tiny_tracker: Tracker, probed: Probed) -> None:
    with pytest.raises(TrackerError, match="Features of other weights are other features"):
        tiny_tracker.apply(replace(probed.probe, saes="0123456789ab"), SENTENCES)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b"\xff", b'{"bundle": "x"}', b'{"a": ' * 5000, b"x" * 1_000_001], ids=len
)
def test_what_is_no_probe_is_refused(raw: bytes) -> None:
    with pytest.raises(TrackerError, match="probe"):
        read_probe(raw, "file.json")


def test_weights_that_do_not_fit_the_classes_are_refused(probed: Probed) -> None:
    record = json.loads(probed.probe.to_json()) | {"classes": ["a", "b", "c"]}
    with pytest.raises(TrackerError, match="3 classes"):
        read_probe(json.dumps(record).encode(), "file.json")


def test_one_class_or_too_few_of_one_are_refused(tiny_tracker: Tracker) -> None:
    with pytest.raises(TrackerError, match="All sentences have one label, up"):
        tiny_tracker.probe(SENTENCES, ["up"] * 20)
    with pytest.raises(TrackerError, match="The label rare has 2 sentences"):
        tiny_tracker.probe(SENTENCES, ["rare"] * 2 + ["up"] * 18)


def test_rows_come_in_the_order_of_the_sentences(tiny_tracker: Tracker) -> None:
    reader, _ = tiny_tracker.kinds_of_change()
    texts = ["Rates.", "A much longer sentence than the others are in this list.", "It rose.", "Rates."]
    assert np.allclose(pooled(texts, reader), np.concatenate([pooled([text], reader) for text in texts]), atol=1e-4)
    streams = mean_streams([reader.tokenize(text) for text in texts], reader)
    for text, row in zip(texts, streams, strict=True):
        assert np.allclose(mean_streams([reader.tokenize(text)], reader)[0], row, atol=1e-4)
    ids = [tiny_tracker.language_model.bos_id, *next(reader.tokenize(texts[1]).windows()).tolist()]
    resids: list[torch.Tensor] = []
    read_residuals(
        tiny_tracker.language_model.decoder, torch.tensor([ids]), [3], lambda _layer, resid: resids.append(resid)
    )
    assert np.allclose(resids[0][0, 1:].mean(dim=0), streams[1], atol=1e-4)


def test_columns_are_known_by_their_names_with_any_capitals() -> None:
    columns = {"Sentence": ["It rose.", "", "It fell."], "LABEL": ["up", "up", "down"], "year": ["1", "2", "3"]}
    assert labelled_sentences(columns, "x.csv") == (["It rose.", "It fell."], ["up", "down"])
    with pytest.raises(TrackerError, match="it has a, b"):
        labelled_sentences({"a": [], "b": []}, "x.csv")
    with pytest.raises(TrackerError, match="no row"):
        labelled_sentences({"text": [""], "label": ["x"]}, "x.csv")
