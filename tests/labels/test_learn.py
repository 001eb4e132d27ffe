"""The labeller finds what was planted, and scores it as a naive judge would."""

from __future__ import annotations

import numpy as np
import pytest

from labels.firings import Firings
from labels.learn import LearnConfig, count_words, learn_rule
from labels.rules import Clause, Contexts, Rule
from labels.score import balanced_sample, score
from labels.statistics import feature_statistics
from labels.token_sets import TokenSets, build_token_sets, firing_profiles, load_token_sets, save_token_sets, word_form
from labels.wording import UNLABELLED, word_rule

WORDS = [
    "<bos>",
    " bank",
    " bond",
    " loan",
    " sea",
    " wind",
    " rain",
    " the",
    " of",
    ",",
    " 7",
    " rose",
    " fell",
    "ing",
]
N_WINDOWS, WINDOW, N_LATENTS = 300, 21, 5


def planted(seed: int) -> Firings:
    """Latent 0 fires on bank, bond and loan; 1 after `the`; 2 on all but `of`; 3 never; 4 on seven tokens at random."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(1, len(WORDS), (N_WINDOWS, WINDOW))
    tokens[:, 0] = 0
    current, previous = tokens[:, 1:].ravel(), tokens[:, :-1].ravel()
    chance = generator.choice(len(current), 7, replace=False)
    fires = np.stack(
        [np.isin(current, [1, 2, 3]), previous == 7, current != 8, np.zeros(len(current), bool),
         np.isin(np.arange(len(current)), chance)], axis=1,
    )  # fmt: skip
    values = np.where(fires, generator.uniform(0.5, 2, fires.shape), 0).astype(np.float32)
    indices = np.tile(np.arange(N_LATENTS, dtype=np.int16), (len(current), 1))
    return Firings(tokens, np.arange(N_WINDOWS) % 3 != 0, values, indices, N_LATENTS)


@pytest.fixture(scope="module")
def train() -> Firings:
    return planted(0)


@pytest.fixture(scope="module")
def sets(train: Firings) -> TokenSets:
    counts = np.bincount(train.current, minlength=len(WORDS))
    profiles = firing_profiles(train.token_counts(len(WORDS)), counts)
    return build_token_sets(WORDS, 0, counts, profiles, seed=0)


def learnt(latent: int, train: Firings, sets: TokenSets) -> Rule | None:
    config = LearnConfig(sample=500)
    return learn_rule(train, latent, count_words(train, sets), sets, config, np.random.default_rng(0))


@pytest.mark.parametrize("latent", [0, 1, 2])
def test_a_planted_cause_is_found_and_holds_on_other_text(latent: int, train: Firings, sets: TokenSets) -> None:
    rule = learnt(latent, train, sets)
    assert rule is not None
    held_out = planted(1)
    sample = balanced_sample(held_out, latent, 200, np.random.default_rng(0))
    predicted = Contexts(held_out.token_ids, sample.positions, sets).fires(rule)
    assert score(predicted, sample.fires).f1 > 0.97


def test_the_label_names_the_planted_words(train: Firings, sets: TokenSets) -> None:
    label = word_rule(learnt(0, train, sets), sets)
    assert all(word in label for word in ("bank", "bond", "loan"))
    assert "sea" not in label
    assert "after" in word_rule(learnt(1, train, sets), sets)


def test_a_latent_that_never_or_hardly_fires_gets_no_rule(train: Firings, sets: TokenSets) -> None:
    assert learnt(3, train, sets) is None
    assert learnt(4, train, sets) is None
    assert word_rule(None, sets) == UNLABELLED


def test_learning_again_gives_the_same_rule(train: Firings, sets: TokenSets) -> None:
    assert learnt(1, train, sets) == learnt(1, train, sets)


def test_long_lists_are_cut_with_an_ellipsis(sets: TokenSets) -> None:
    rule = Rule((Clause("token", words=tuple("abcdefgh")),), (Clause("previous", words=("x",)),))
    assert word_rule(rule, sets) == "a, b, c, d…; not after x"


def test_sets_survive_saving(sets: TokenSets, tmp_path) -> None:
    save_token_sets(sets, tmp_path / "groups.json")
    again = load_token_sets(tmp_path / "groups.json", WORDS, 0)
    assert again.names == sets.names
    assert (again.members == sets.members).all()


def test_names_of_sets_are_unique(sets: TokenSets) -> None:
    assert len(set(sets.names)) == len(sets.names)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (" Rate", "rate"),
        ("Rate", "rate"),
        ("rate", "-rate"),
        (" ", "space"),
        ("\n", "line break"),
        ("7", "7"),
        (" $", "dollar sign"),
    ],
)
def test_word_forms(text: str, form: str) -> None:
    assert word_form(text) == form


def test_a_balanced_sample_is_half_firing_and_spans_the_activations(train: Firings) -> None:
    sample = balanced_sample(train, 0, 100, np.random.default_rng(0))
    positions, values = train.of(0)
    assert sample.fires.sum() == 100
    assert (~sample.fires).sum() == 100
    assert np.isin(sample.positions, positions).tolist() == sample.fires.tolist()
    assert len(set(sample.positions.tolist())) == 200
    drawn = values[np.searchsorted(positions, sample.positions[sample.fires])]
    edges = np.quantile(values, np.linspace(0, 1, 11))
    assert np.histogram(drawn, edges)[0].tolist() == pytest.approx([10] * 10, abs=1)


def test_silent_positions_are_drawn_evenly(train: Firings) -> None:
    fires = np.zeros(train.n_tokens, bool)
    fires[train.of(2)[0]] = True
    drawn = [balanced_sample(train, 2, 100, np.random.default_rng(seed)).positions[100:] for seed in range(50)]
    assert not fires[np.concatenate(drawn)].any()
    halves = np.concatenate(drawn) < train.n_tokens / 2
    assert 0.45 < halves.mean() < 0.55


def test_who_always_says_yes_scores_two_thirds() -> None:
    fires = np.arange(10) < 5
    found = score(np.ones(10, bool), fires)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.balanced_accuracy == 0.5
    assert (found.n_positive, found.n_negative) == (5, 5)


def test_score_by_hand() -> None:
    found = score(np.array([1, 1, 0, 0, 1, 0], bool), np.array([1, 1, 1, 0, 0, 0], bool))
    assert found.precision == pytest.approx(2 / 3)
    assert found.recall == pytest.approx(2 / 3)
    assert found.f1 == pytest.approx(2 / 3)
    assert found.balanced_accuracy == pytest.approx(2 / 3)


def test_statistics_agree_with_dense_arithmetic_and_stand_in_the_order_of_latents(train: Firings) -> None:
    dense = np.zeros((train.n_tokens, N_LATENTS))
    np.put_along_axis(dense, train.indices.astype(int), train.values, axis=1)
    found = feature_statistics(train)
    finance = train.is_finance
    np.testing.assert_allclose(
        found["specialization"], dense[finance].mean(axis=0) - dense[~finance].mean(axis=0), atol=1e-6
    )
    np.testing.assert_allclose(found["density"], (dense > 0).mean(axis=0))
    np.testing.assert_allclose(found["mean_activation"], dense.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found["max_activation"], dense.max(axis=0))
    assert found["q90"][0] == pytest.approx(np.quantile(dense[dense[:, 0] > 0, 0], 0.9))
    assert (found["finance_tokens"] == finance.sum()).all()
    assert np.isnan(found["specialization_index"][3])
