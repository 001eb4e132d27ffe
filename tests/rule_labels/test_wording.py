from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.rule_labels.firings import Firings
from feature_tracker.rule_labels.lexicon import Lexicon, assemble
from feature_tracker.rule_labels.rules import Mention, Rule
from feature_tracker.rule_labels.wording import show_words, word_rates

WORDS = ["<bos>", " debt", " funds", " mr", " economy", " economies", " the"]
FORMS = ["debt", "economies", "economy", "funds", "mr", "the"]
FAMILY = ["mr", "debt", "funds", "economy", "economies"]


def lexicon(**families: list[str]) -> Lexicon:
    return assemble(
        WORDS, 0, words=np.array(FORMS), families=np.ones((len(FORMS), 1 + len(families)), np.uint8),
        typical_words={"mr/debt": FAMILY, **families}, topics=np.zeros((len(FORMS), 0), np.uint8), topic_names=[],
        near_low=np.zeros(0, np.float32), near_high=np.zeros(0, np.float32), passage_high=np.zeros(0, np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def firings() -> Firings:
    """Latent 0 fires on the economy mostly, on funds often, on debt at times, never on mr; 1 after `mr`."""
    tokens = np.random.default_rng(0).integers(1, len(WORDS), (400, 21))
    tokens[:, 0] = 0
    current, previous = tokens[:, 1:].ravel(), tokens[:, :-1].ravel()
    chance = np.array([0, 0.3, 0.6, 0, 1.0, 0.9, 0.1])[current]
    fires = np.stack([np.random.default_rng(1).random(len(current)) < chance, previous == 3], axis=1)
    return Firings(tokens, np.ones(400, bool), fires.astype(np.float32), np.tile([0, 1], (len(current), 1)), 2)


def shown(firings: Firings, latent: int, rule: Rule, words: Lexicon) -> Rule:
    return show_words(rule, latent, word_rates(firings, words), words)


def test_rates_are_how_often_a_latent_fires_on_and_after_each_word(firings: Firings) -> None:
    rates = word_rates(firings, lexicon())
    np.testing.assert_allclose(rates["token"][:, 0], [0.3, 0.9, 1.0, 0.6, 0, 0.1], atol=0.05)
    np.testing.assert_allclose(rates["previous"][:, 1], [0, 0, 0, 0, 1, 0], atol=0.05)


def test_a_label_shows_words_on_which_its_own_feature_fires_and_not_two_forms_of_one(firings: Firings) -> None:
    rule = shown(firings, 0, Rule((Mention("token", "mr/debt"),)), lexicon())
    assert rule.like == (Mention("token", "mr/debt", "economy/funds"),)


def test_what_is_ruled_out_shows_words_on_which_the_feature_is_silent(firings: Firings) -> None:
    rule = shown(firings, 0, Rule((), (Mention("token", "mr/debt"),)), lexicon())
    assert rule.unlike == (Mention("token", "mr/debt", "mr/debt"),)


def test_words_after_which_it_fires_are_shown_for_the_word_before(firings: Firings) -> None:
    rule = shown(firings, 1, Rule((Mention("previous", "mr/debt"),)), lexicon())
    assert rule.like[0].shown.startswith("mr/")


def test_two_words_that_two_families_share_stand_for_neither(firings: Firings) -> None:
    rule = shown(firings, 0, Rule((Mention("token", "mr/debt"),)), lexicon(other=["economy", "funds"]))
    assert rule.like[0].shown == "economy/debt"


@pytest.mark.parametrize("mention", [Mention("near", "mr/debt"), Mention("token", "digits")])
def test_classes_and_what_is_looked_for_further_off_keep_their_names(firings: Firings, mention: Mention) -> None:
    assert shown(firings, 0, Rule((mention,)), lexicon()).like == (mention,)
