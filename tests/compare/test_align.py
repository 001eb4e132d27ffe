from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, strategies as st

from feature_tracker.compare.align import Pair, align, edits_of, sentences_of

OLD = "Net sales rose in May. The board kept the dividend. Costs were stable. Demand is strong in Asia."
NEW = "The board kept the dividend. Net sales fell in June. Demand is strong in Asia. A new plant opened in Ohio."


def changed(pair: Pair) -> list[tuple[str, str]]:
    assert pair.before and pair.after
    return [
        (" ".join(pair.before.keys[slice(*edit.before)]), " ".join(pair.after.keys[slice(*edit.after)]))
        for edit in edits_of(pair.before, pair.after)
    ]


def test_sentences_are_paired_wherever_they_stand() -> None:
    pairs = align(sentences_of(OLD), sentences_of(NEW))
    texts = [(pair.before and pair.before.text, pair.after and pair.after.text) for pair in pairs]
    assert ("The board kept the dividend.", "The board kept the dividend.") in texts
    assert ("Net sales rose in May.", "Net sales fell in June.") in texts
    assert ("Costs were stable.", None) in texts
    assert (None, "A new plant opened in Ohio.") in texts
    assert len(pairs) == 5


def test_only_the_words_that_differ_are_edits() -> None:
    (pair,) = align(sentences_of("Net sales rose 5.4% in May."), sentences_of("Net sales fell 5.4% in late June."))
    assert changed(pair) == [("rose", "fell"), ("may", "late june")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("The Committee's 12-month goal, “stable prices”.", 'The committee’s 12‑month goal, "stable prices".'),
        ("Net  sales\nrose.", "Net sales rose."),
        ("A co\u00adoperative bank.", "A cooperative bank."),
    ],
)
def test_typography_is_no_change(before: str, after: str) -> None:
    (pair,) = align(sentences_of(before), sentences_of(after))
    assert pair.is_same


def test_a_sentence_that_stands_twice_is_paired_once_for_each_time() -> None:
    pairs = align(sentences_of("It rose. It rose. It fell."), sentences_of("It rose. It fell."))
    assert sum(pair.is_same for pair in pairs) == 2
    assert [pair.before.text for pair in pairs if pair.after is None and pair.before] == ["It rose."]


@given(st.lists(st.sampled_from(["It rose.", "It fell.", "Sales were up.", "Nothing else."]), min_size=1, max_size=9))
def test_shuffled_sentences_are_the_same_sentences(sentences: list[str]) -> None:
    shuffled = random.Random(0).sample(sentences, len(sentences))
    pairs = align(sentences_of(" ".join(sentences)), sentences_of(" ".join(shuffled)))
    assert all(pair.is_same for pair in pairs)
    assert len(pairs) == len(sentences)


@given(st.text(max_size=200), st.text(max_size=200))
def test_every_sentence_is_in_one_pair_and_edits_rebuild_the_new_sentence(before: str, after: str) -> None:
    first, second = sentences_of(before), sentences_of(after)
    pairs = align(first, second)
    assert [pair.after for pair in pairs if pair.after] == second
    assert sorted(pair.before.start for pair in pairs if pair.before) == [sentence.start for sentence in first]
    for pair in pairs:
        if pair.before and pair.after:
            keys, moved = list(pair.before.keys), 0
            for edit in edits_of(pair.before, pair.after):
                keys[edit.before[0] + moved : edit.before[1] + moved] = pair.after.keys[slice(*edit.after)]
                moved += int(np.subtract(*edit.after[::-1]) - np.subtract(*edit.before[::-1]))
            assert tuple(keys) == pair.after.keys
