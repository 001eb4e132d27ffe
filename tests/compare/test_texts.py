"""Two texts on the tiny model for logic, and statements of a central bank on the built-in one for truth."""

from __future__ import annotations

import random

import numpy as np
import pytest

from feature_tracker.compare.align import sentences_of
from feature_tracker.compare.texts import Comparison, changes_table
from feature_tracker.errors import TrackerError
from feature_tracker.model.load import LanguageModel
from feature_tracker.tracing.apart import trace_apart
from feature_tracker.tracker import Tracker
from tests.support import SENTENCES

OLD = "Net sales rose in May. The board kept the dividend. Costs were 12 percent. Demand is strong."
NEW = "Net sales fell in June. The board kept the dividend. Costs were 15 percent. A plant opened in Ohio."


@pytest.fixture(scope="module")
def compared(tiny_tracker: Tracker) -> Comparison:
    return tiny_tracker.compare(OLD, NEW)


def test_counts_and_rules_come_from_the_words(compared: Comparison) -> None:
    assert (compared.n_same, compared.n_reworded, compared.n_new, compared.n_gone) == (1, 2, 1, 1)
    what = {(change.before, change.after): change.what for change in compared.changes}
    assert what["12", "15"] == "number"
    assert what["May", "June"] == "date"
    assert ("rose", "fell") in what
    assert ("Demand is strong.", "") in what and ("", "A plant opened in Ohio.") in what


def test_features_are_those_of_the_sentence_read_alone(tiny_tracker: Tracker, compared: Comparison) -> None:
    change = next(change for change in compared.changes if change.before == "rose")
    reader, _ = tiny_tracker.kinds_of_change()
    row = change.behind.iloc[0]
    feature = next(f for f in reader.features if tuple(f) == (row["layer"], row["feature"]))
    for text, word, strength in (
        ("Net sales rose in May.", "rose", row["before"]),
        ("Net sales fell in June.", "fell", row["after"]),
    ):
        trace = tiny_tracker.trace(text)
        starts, ends = trace.tokens.offsets.T
        at = text.index(word)
        inside = np.flatnonzero((starts < at + len(word)) & (ends > at))
        inside = np.intersect1d(inside, trace.counted)
        largest = reader.largest[reader.features.index(feature)]
        assert np.sqrt(trace.column(feature)[inside].max() / largest) == pytest.approx(strength, abs=1e-5)


def test_the_same_text_and_shuffled_sentences_change_nothing(tiny_tracker: Tracker) -> None:
    sentences = [sentence.text for sentence in sentences_of(SENTENCES)]
    shuffled = " ".join(random.Random(1).sample(sentences, len(sentences)))
    for other in (SENTENCES, shuffled):
        compared = tiny_tracker.compare(SENTENCES, other)
        assert not compared.changes
        assert not compared.features["is_certain"].any()
        assert np.allclose(compared.features["difference"], 0, atol=1e-6)
    assert compared.n_same == len(sentences)


def test_intervals_hold_the_difference(compared: Comparison) -> None:
    features = compared.features
    assert (features["low"] <= features["high"]).all()
    assert np.allclose(features["difference"], features["after"] - features["before"], atol=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "name"), [("", NEW, "first"), (OLD, " \n", "second"), (OLD, "…!", "second")]
)
def test_a_text_without_words_is_refused(tiny_tracker: Tracker, before: str, after: str, name: str) -> None:
    with pytest.raises(TrackerError, match=f"The {name} text has no words"):
        tiny_tracker.compare(before, after)


def test_sentences_read_together_are_read_alone(tiny_tracker: Tracker) -> None:
    texts = [*(sentence.text for sentence in sentences_of(SENTENCES)[:3]), "Rates rose.", SENTENCES]
    tokens = [tiny_tracker.tokenize(text) for text in texts]
    together = trace_apart(tokens, tiny_tracker.language_model, tiny_tracker.saes)
    for text, trace in zip(texts, together, strict=True):
        alone = tiny_tracker.trace(text)
        for layer, expected in alone.layers.items():
            assert np.allclose(trace.layers[layer].dense(), expected.dense(), atol=1e-4)
        assert trace.counted.tolist() == alone.counted.tolist()


def test_the_table_holds_every_change(tiny_tracker: Tracker, compared: Comparison) -> None:
    table = changes_table(compared, tiny_tracker.labels)
    assert len(table) == len(compared.changes)
    assert set(table.columns) == {"before", "after", "what", "sentence_before", "sentence_after", "features"}


@pytest.mark.model
def test_a_raise_that_became_a_cut_is_a_change_of_direction(builtin_model: LanguageModel) -> None:
    tracker = Tracker.open("smollm2-135m")
    compared = tracker.compare(
        "The Committee decided to raise the target range. Job gains have been solid.",
        "The Committee decided to lower the target range. Job gains have been strong.",
    )
    what = {(change.before, change.after): change.what for change in compared.changes}
    assert what["raise", "lower"].startswith("direction: from up to down")
    assert what["solid", "strong"] == ""
    assert {kind.name for kind in tracker.kinds_of_change()[1] if kind.is_offered} >= {"direction", "quality"}
