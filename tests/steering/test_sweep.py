from __future__ import annotations

import pytest
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.steering.generate import Steering, run_steered
from feature_tracker.steering.recipe import Recipe
from feature_tracker.steering.sweep import MOST_WORDS, STRENGTHS
from feature_tracker.tracker import Tracker

PROMPT = "The central bank raised"


@pytest.fixture
def recipe(tracker: Tracker) -> Recipe:
    return tracker.recipe([(Feature(3, 2), 0.5)])


def naive(tracker: Tracker, recipe: Recipe, text: str, n_before: int) -> float:
    """The product of the probabilities of a text's tokens from the one at `n_before` on, a forward for each."""
    ids = tracker.tokenize(text).ids.tolist()
    product = 1.0
    for place in range(n_before, len(ids)):
        fed = torch.tensor([[*ids[:place]]])
        logits = run_steered(tracker.language_model, fed, Steering(recipe, tracker.saes), keep=1)[0, 0]
        product *= float(logits.softmax(dim=-1)[ids[place]])
    return product


def test_words_of_one_and_several_tokens_have_the_product_of_their_tokens(tracker: Tracker, recipe: Recipe) -> None:
    words = ["its", "xylophones", "net sales", "ration"]
    n_before = tracker.tokenize(PROMPT).n_tokens
    assert len({tracker.tokenize(f"{PROMPT} {word}").n_tokens for word in words}) > 1
    sweep = tracker.sweep(PROMPT + " ", recipe, words)
    assert sweep["word"].drop_duplicates().tolist() == words
    assert sweep["strength"].drop_duplicates().tolist() == list(STRENGTHS)
    for strength, word, probability in sweep.itertuples(index=False):
        expected = naive(tracker, recipe.at(strength), f"{PROMPT} {word}", n_before)
        assert probability == pytest.approx(expected, rel=1e-4), (strength, word)


def test_strength_0_is_the_unsteered_model_and_others_are_not(tracker: Tracker, recipe: Recipe) -> None:
    sweep = tracker.sweep(PROMPT, recipe, ["its"]).set_index("strength")["probability"]
    other = tracker.sweep(PROMPT, tracker.recipe([(Feature(4, 9), -1.0)]), ["its"]).set_index("strength")["probability"]
    assert sweep[0] == other[0]
    assert sweep.nunique() == len(STRENGTHS)


def test_without_words_the_likeliest_are_followed(tracker: Tracker, recipe: Recipe) -> None:
    sweep = tracker.sweep(PROMPT, recipe)
    fed = torch.tensor([[*tracker.tokenize(PROMPT).ids.tolist()]])
    for strength, steering in ((0, None), (0.5, Steering(recipe, tracker.saes))):
        likeliest = run_steered(tracker.language_model, fed, steering, keep=1)[0, 0].softmax(dim=-1).max()
        assert sweep[sweep["strength"] == strength]["probability"].max() == pytest.approx(float(likeliest), rel=1e-4)
    assert not sweep.duplicated(["strength", "word"]).any()


def test_a_word_after_a_line_break_has_no_space_before_it(tracker: Tracker, recipe: Recipe) -> None:
    sweep = tracker.sweep(PROMPT + "\n", recipe, ["its"])
    n_before = tracker.tokenize(PROMPT + "\n").n_tokens
    expected = naive(tracker, recipe.at(1), PROMPT + "\nits", n_before)
    assert sweep.set_index("strength")["probability"][1] == pytest.approx(expected, rel=1e-4)


def test_too_many_or_too_long_words_are_refused(tracker: Tracker, recipe: Recipe) -> None:
    with pytest.raises(TrackerError, match="At most 8 words"):
        tracker.sweep(PROMPT, recipe, [f"w{i}" for i in range(MOST_WORDS + 1)])
    with pytest.raises(TrackerError, match="can't be followed"):
        tracker.sweep(PROMPT, recipe, ["rate " * 60])
