"""Rules look where they say, add likeness up, and survive JSON."""

from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.errors import TrackerError
from feature_tracker.rule_labels.classes import token_classes
from feature_tracker.rule_labels.context_likeness import NEAR, PASSAGE, ContextLikeness, Where
from feature_tracker.rule_labels.lexicon import STEP, Lexicon, assemble
from feature_tracker.rule_labels.rules import (
    Mention,
    Rule,
    fires,
    likeness_to,
    rule_from_json,
    rule_to_json,
    rule_to_text,
)

# Two windows of BOS and four tokens: "rates rose , and" and "the rates fell ,".
TEXTS = ["<bos>", " rates", " rose", ",", " and", " the", " fell"]
TOKENS = np.array([[0, 1, 2, 3, 4], [0, 5, 1, 6, 3]])
EVERY = np.arange(8)
AS_STEPS = int(1 / STEP)


@pytest.fixture
def lexicon() -> Lexicon:
    """Families "rates" and "rose"; `fell` is half like `rose`. One topic, of which `rates` is telling."""
    words = np.array(["rates", "rose", "fell"])
    families = np.array([[AS_STEPS, 0], [0, AS_STEPS], [0, AS_STEPS // 2]], np.uint8)
    n_kinds = 2 + len(token_classes(TEXTS, 0))
    return assemble(
        TEXTS, 0, words=words, families=families,
        typical_words={"rates": ["rates"], "rose/fell": ["rose", "fell"]},
        topics=np.array([[AS_STEPS], [0], [0]], np.uint8), topic_names=["rates/rose"],
        near_low=np.zeros(n_kinds, np.float32), near_high=np.full(n_kinds, 1 / NEAR, np.float32),
        passage_high=np.array([0.1], np.float32),
    )  # fmt: skip


def likeness(where: Where, name: str, lexicon: Lexicon) -> list[float]:
    rule = Rule((Mention(where, name),))
    return likeness_to(rule, ContextLikeness(TOKENS, EVERY, lexicon), lexicon).round(3).tolist()


def test_a_token_is_looked_at_itself(lexicon: Lexicon) -> None:
    assert likeness("token", "rose/fell", lexicon) == [0, 1, 0, 0, 0, 0, 0.5, 0]
    assert likeness("token", "commas", lexicon) == [0, 0, 1, 0, 0, 0, 0, 1]


def test_the_previous_token_is_not_in_the_window_before(lexicon: Lexicon) -> None:
    assert likeness("previous", "rates", lexicon) == [0, 1, 0, 0, 0, 0, 1, 0]
    assert likeness("previous", "the start of the text", lexicon) == [1, 0, 0, 0, 1, 0, 0, 0]


def test_near_looks_back_and_neither_at_the_token_nor_across_the_start(lexicon: Lexicon) -> None:
    assert likeness("near", "rates", lexicon) == [0, 1, 1, 1, 0, 0, 1, 1]


def test_a_passage_is_the_mean_of_what_was_read_so_far(lexicon: Lexicon) -> None:
    contexts = ContextLikeness(TOKENS, EVERY, lexicon)
    np.testing.assert_allclose(contexts.mean_passage()[:, 0], np.array([1, 1, 1, 1, 0, 1, 1, 1]) / (PASSAGE / 3))
    assert likeness("passage", "rates/rose", lexicon)[0] == pytest.approx(10 / (PASSAGE / 3), abs=1e-3)


def test_means_agree_with_counting_one_by_one(lexicon: Lexicon) -> None:
    generator = np.random.default_rng(0)
    tokens = np.concatenate([np.zeros((5, 1), int), generator.integers(1, 7, (5, 90))], axis=1)
    positions = generator.integers(0, 450, 40)
    contexts = ContextLikeness(tokens, positions, lexicon)
    near, passage = contexts.mean_near(), contexts.mean_passage()
    for row, position in enumerate(positions):
        window, column = tokens[position // 90], 1 + position % 90
        before = window[max(0, column - NEAR) : column]
        np.testing.assert_allclose(near[row], lexicon.kind_table[before].sum(axis=0) / NEAR, rtol=1e-5, atol=1e-6)
        read = window[max(0, column + 1 - PASSAGE) : column + 1]
        length = min(max(column, PASSAGE / 3), PASSAGE)
        np.testing.assert_allclose(passage[row], lexicon.topic_table[read].sum(axis=0) / length, rtol=1e-5)


def test_a_rule_fires_where_likeness_less_unlikeness_exceeds_the_threshold(lexicon: Lexicon) -> None:
    rule = Rule((Mention("token", "rose/fell"), Mention("token", "commas")), (Mention("previous", "rose/fell"),))
    contexts = ContextLikeness(TOKENS, EVERY, lexicon)
    assert likeness_to(rule, contexts, lexicon).tolist() == [0, 1, 0, 0, 0, 0, 0.5, 0.5]
    assert fires(rule, contexts, lexicon).tolist() == [False, True, False, False, False, False, True, True]
    assert not fires(Rule(()), contexts, lexicon).any()


def test_a_label_names_every_mention_and_where_it_looks() -> None:
    rule = Rule(
        (
            Mention("previous", "digits"),
            Mention("token", "rose/fell"),
            Mention("token", "commas"),
            Mention("token", "rates"),
            Mention("passage", "rates/rose"),
        ),
        (Mention("near", "rates"), Mention("token", "digits")),
    )
    assert rule_to_text(rule) == (
        "rose/fell, commas, rates; after digits; in passages on rates/rose; not digits, nor soon after rates"
    )


def test_a_rule_survives_json() -> None:
    rule = Rule((Mention("token", "€/dollar sign", "€/£"), Mention("near", "digits")), (Mention("passage", "a/b"),))
    assert rule_from_json(rule_to_json(rule)) == rule
    assert rule_to_text(rule) == "€/£; soon after digits; not in passages on a/b"


@pytest.mark.parametrize("text", ["", "{}", '{"like": [["token"]], "unlike": []}', '{"like": [["next", "a"]]}', "[1]"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(TrackerError):
        rule_from_json(text)


def test_a_name_that_the_lexicon_lacks_is_named(lexicon: Lexicon) -> None:
    with pytest.raises(TrackerError, match="'bonds'"):
        likeness("token", "bonds", lexicon)
