from __future__ import annotations

import sys

import pandas as pd
import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.labels import search
from feature_tracker.labels.search import search_meaning, search_words

LABELS = {
    (4, 0): ("Loans and lending", "Banks making loans.", "fires on: loan, credit"),
    (4, 1): ("Recipes", "Cooking instructions: stir, bake, simmer.", "in passages with: flour"),
    (16, 0): ("Lawsuits", "Courts and a loan dispute.", ""),
    (16, 1): ("Colours", "'red' and 'blue' (C++ too)", ""),
}
FRAME = pd.DataFrame(LABELS.values(), columns=["label", "detail", "top_words"])
FRAME.index = pd.MultiIndex.from_tuples(LABELS, names=["layer", "feature"])


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("loan", [(4, 0), (16, 0)]),  # the label's before the detail's
        ("LOANS", [(4, 0), (16, 0)]),
        ("lend", [(4, 0)]),
        ("cook", [(4, 1)]),
        ("loan dispute", [(16, 0)]),
        ("flour", [(4, 1)]),
        ("oan", []),  # not from the middle of a word
        ("mortgage", []),
        ("red (", [(16, 1)]),  # signs are no words
        ("", list(LABELS)),
        (" ?! ", list(LABELS)),
    ],
)
def test_features_are_found_by_all_words_of_a_query(query: str, found: list[tuple[int, int]]) -> None:
    assert search_words(FRAME, query).index.tolist() == found


def test_a_table_of_labels_alone_can_be_searched() -> None:
    assert search_words(FRAME[["label"]], "loan").index.tolist() == [(4, 0)]


def test_features_are_found_by_meaning() -> None:
    pytest.importorskip("wordllama")
    scores = search_meaning(FRAME, "legal proceedings")
    assert scores.index[0] == (16, 0)
    assert search_meaning(FRAME, "how to make soup").index[0] == (4, 1)
    assert scores.between(-1, 1).all() and len(scores) == len(FRAME)


def test_a_missing_sentence_model_is_named_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wordllama", None)
    search._sentence_model.cache_clear()
    with pytest.raises(TrackerError, match=r"feature-activation-tracker\[search\]"):
        search_meaning(FRAME, "loans")
    search._sentence_model.cache_clear()
