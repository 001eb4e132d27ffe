from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.compare.kinds import OFFERED_AUC, Example, claims, learn_kind, read_examples

POLES = ("up", "down")


def example(number: int) -> Example:
    letters = f"{chr(97 + number // 26)}{chr(97 + number % 26)}"
    return Example("It ", (f"x{letters}xa", f"x{letters}xb", f"x{letters}xc"), " today.")


def test_the_shipped_kinds_have_twenty_sentences_each_and_three_words_in_each() -> None:
    kinds = read_examples()
    assert {"direction", "quality", "certainty", "strictness", "negation"} <= {name for name, _ in kinds}
    for examples in kinds.values():
        assert len(examples) >= 20
        for line in examples:
            assert len(set(line.words)) == 3
            for text, start, end in line.spans():
                assert text[start:end] in line.words
                assert "{" not in text


def test_a_kind_that_features_tell_is_offered_and_says_which_way() -> None:
    examples = [example(number) for number in range(24)]
    rng = np.random.default_rng(0)
    strengths = rng.uniform(0, 0.3, (24, 3, 200)).astype(np.float32)
    strengths[:, [0, 2], 7] = 1.0
    strengths[:, 1, 8] = 1.0
    kind = learn_kind("direction", POLES, examples, strengths)
    assert kind.auc >= OFFERED_AUC
    assert kind.is_offered
    (claim,) = claims([kind], strengths[0, 1] - strengths[0, 0])
    assert str(claim) == "direction: from up to down"
    (claim,) = claims([kind], strengths[0, 0] - strengths[0, 1])
    assert str(claim) == "direction: from down to up"
    assert claims([kind], strengths[0, 0] - strengths[0, 2]) == []


def test_a_kind_that_no_feature_tells_is_not_offered() -> None:
    strengths = np.random.default_rng(0).uniform(0, 1, (24, 3, 200)).astype(np.float32)
    kind = learn_kind("direction", POLES, [example(number) for number in range(24)], strengths)
    assert not kind.is_offered
    assert claims([kind], 100 * (strengths[0, 1] - strengths[0, 0])) == []


def test_a_kind_is_not_measured_on_words_that_it_was_learnt_from() -> None:
    # Each word has a feature of its own: learnt from the same words all could be told, from others none can.
    strengths = np.zeros((24, 3, 72), np.float32)
    for row in range(24):
        for word in range(3):
            strengths[row, word, 3 * (row // 2) + word] = 1.0  # two sentences share their words
    examples = [example(row // 2) for row in range(24)]
    kind = learn_kind("direction", POLES, examples, strengths)
    assert kind.auc == pytest.approx(0.5, abs=0.05)
