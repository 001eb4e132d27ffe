from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.ranking import agreement, compare_rankings, halves_of
from feature_tracker.corpus.documents import Document
from feature_tracker.corpus.measure import Measurement, fill_table
from feature_tracker.errors import TrackerError
from feature_tracker.tracker import Tracker
from tests.support import SENTENCES

OTHER = "A river ran past old trees while it rained, and nobody in the valley heard the birds. " * 8


@pytest.fixture(scope="module")
def tracker(tiny_tracker: Tracker) -> Tracker:
    """Windows long enough for pieces, measured on the two texts."""
    measurement = Measurement(tiny_tracker.language_model, tiny_tracker.saes, window=150)
    measured = measurement.measure([SENTENCES * 4], [OTHER * 4])
    bundle = replace(tiny_tracker.bundle, window=40)
    return replace(tiny_tracker, bundle=bundle, labels=fill_table(None, measured, "tiny"))


def test_halves_meet_in_the_middle_in_whole_windows(tracker: Tracker) -> None:
    tokens = tracker.language_model.tokenizer(SENTENCES, add_special_tokens=False)["input_ids"]
    middle = len(tokens) // 2
    for text, n_windows in ((SENTENCES, middle // 39), (SENTENCES * 5, 3)):
        first, second = halves_of(text, tracker)
        assert first.n_tokens == second.n_tokens == 39 * n_windows
        assert first.text + second.text in text
    first, second = halves_of(SENTENCES, tracker)
    assert first.ids.tolist() == tokens[middle - first.n_tokens : middle]
    assert second.ids.tolist() == tokens[middle : middle + second.n_tokens]
    assert "".join(second.token_texts) == second.text
    assert halves_of("Rates rose.", tracker) == halves_of(" ", tracker) == []


def test_agreement_by_hand() -> None:
    share = np.array([[0.6, 0.2, 0.0], [0.4, 0.3, 0.1], [0.1, 0.0, 0.5]])
    found = agreement(share, ["a", "a", "b"])
    assert found.same_document == pytest.approx((0.6 + 0.3 + 0.5) / 3)
    assert found.other_same_source == pytest.approx((0.2 + 0.4) / 2)
    assert found.other_source == pytest.approx((0.0 + 0.1 + 0.1 + 0.0) / 4)
    assert found.auc == pytest.approx(3 / 4)  # of 0.6 and 0.3 against 0.2 and 0.4, only 0.3 against 0.4 is wrong
    assert np.isnan(agreement(share[:1, :1], ["a"])[1:]).all()


def test_documents_of_one_text_share_features_and_of_others_fewer(tracker: Tracker) -> None:
    documents = [
        Document(text * n, source, str(n))
        for source, text in (("finance", SENTENCES), ("general", OTHER)) for n in (2, 3, 4)
    ]  # fmt: skip
    figures = compare_rankings(tracker, iter([*documents, Document("Too short.", "general", "5")]), most=2)
    assert figures["documents"] == {"finance": 2, "general": 2}
    for name in ("distinctiveness", "rarity", "activation"):
        by_ranking = figures[name]
        assert by_ranking["same_document"] > by_ranking["other_source"]
        assert set(by_ranking["by_source"]) == {"finance", "general"}
    assert figures["distinctiveness"]["other_source"] < figures["activation"]["other_source"]
    assert json.loads(json.dumps(figures)) == figures


def test_what_cannot_be_compared_is_told(tracker: Tracker, tiny_tracker: Tracker) -> None:
    with pytest.raises(TrackerError, match="labels measure"):
        compare_rankings(tiny_tracker, iter([Document(SENTENCES, "a", "1")]))
    with pytest.raises(TrackerError, match="No document has two windows"):
        compare_rankings(tracker, iter([Document("Rates rose.", "a", "1")]))
