"""The labeller finds what was planted, and scores it as a naive judge would."""

from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.rule_labels.context_likeness import ContextLikeness
from feature_tracker.rule_labels.corpus_firings import CorpusFirings
from feature_tracker.rule_labels.firings import Firings, feature_statistics
from feature_tracker.rule_labels.label_layer import LayerFirings, label_layer, reword_layer, score_rule
from feature_tracker.rule_labels.learn import LearnConfig, learn_rule
from feature_tracker.rule_labels.lexicon import Lexicon
from feature_tracker.rule_labels.make_lexicon import LexiconConfig, make_lexicon
from feature_tracker.rule_labels.rules import TOO_RARE, Mention, Rule, fires, rule_from_json, rule_to_json, rule_to_text
from feature_tracker.rule_labels.score import balanced_sample, score
from feature_tracker.rule_labels.trials import run_trials

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
def lexicon(train: Firings) -> Lexicon:
    return make_lexicon([train], WORDS, 0, LexiconConfig(families=6))


def learnt(latent: int, train: Firings, lexicon: Lexicon, config: LearnConfig | None = None) -> Rule | None:
    return learn_rule(train, latent, lexicon, config or LearnConfig(sample=500), np.random.default_rng(0))


@pytest.mark.parametrize("latent", [0, 1, 2])
def test_a_planted_cause_is_found_and_holds_on_other_text(latent: int, train: Firings, lexicon: Lexicon) -> None:
    rule = learnt(latent, train, lexicon)
    assert rule is not None
    assert score_rule(rule, planted(1), latent, lexicon, 200, 0).f1 > 0.97


def test_words_that_features_treat_alike_are_one_family(lexicon: Lexicon) -> None:
    families = [sorted(words[:3]) for words in lexicon.typical_words.values()]
    assert ["bank", "bond", "loan"] in families


def test_a_rule_keeps_to_its_length_and_to_where_it_may_look(train: Firings, lexicon: Lexicon) -> None:
    rule = learnt(1, train, lexicon, LearnConfig(sample=500, mentions=2, where=("token", "near"), min_gain=0))
    assert rule is not None
    mentions = [*rule.like, *rule.unlike]
    assert 1 <= len(mentions) <= 2
    assert {mention.where for mention in mentions} <= {"token", "near"}


def test_every_mention_is_worth_its_place_and_the_weightiest_comes_first(lexicon: Lexicon) -> None:
    generator = np.random.default_rng(2)
    train = planted(0)
    values = train.values.copy()
    after_the, on_bank = train.token_ids[:, :-1].ravel() == 7, train.current == 1
    values[:, 0] = on_bank | after_the | (generator.random(len(values)) < 0.1)
    noisy = Firings(train.token_ids, train.is_finance, values, train.indices, N_LATENTS)
    config = LearnConfig(sample=500)
    rule = learnt(0, noisy, lexicon, config)
    assert rule is not None
    assert len(rule.like) >= 2
    sample = balanced_sample(noisy, 0, config.sample, np.random.default_rng(0))
    contexts = ContextLikeness(noisy.token_ids, sample.positions, lexicon)

    def f1(like: tuple[Mention, ...], unlike: tuple[Mention, ...]) -> float:
        return score(fires(Rule(like, unlike), contexts, lexicon), sample.fires).f1

    whole = f1(rule.like, rule.unlike)
    without = [f1(rule.like[:i] + rule.like[i + 1 :], rule.unlike) for i in range(len(rule.like))]
    without_ruled_out = [f1(rule.like, rule.unlike[:i] + rule.unlike[i + 1 :]) for i in range(len(rule.unlike))]
    assert without == sorted(without)
    assert without_ruled_out == sorted(without_ruled_out)
    assert max(without + without_ruled_out) <= whole - config.min_gain + 1e-9


def test_the_label_names_everything_in_the_rule_and_the_row_holds_both(train: Firings, lexicon: Lexicon) -> None:
    firings = LayerFirings(train, planted(1))
    frame = label_layer(4, firings, lexicon, LearnConfig(sample=500), sample=200, seed=0)
    assert frame["feature"].tolist() == list(range(N_LATENTS))
    for label, text in zip(frame["label"][:3], frame["rule"][:3], strict=True):
        rule = rule_from_json(text)
        assert rule_to_text(rule) == label
        assert all((mention.shown or mention.name) in label for mention in [*rule.like, *rule.unlike])
    assert frame["label"][1].startswith("after ")


def test_rewording_gives_back_what_labelling_showed(train: Firings, lexicon: Lexicon) -> None:
    firings = LayerFirings(train, planted(1))
    frame = label_layer(4, firings, lexicon, LearnConfig(sample=500), sample=200, seed=0).set_index("feature")
    bare = [rule_to_json(_unshown(rule_from_json(text))) if text else "" for text in frame["rule"]]
    found, before, after = reword_layer(frame.assign(rule=bare, label="?"), firings, lexicon)
    assert found["rule"].tolist() == frame["rule"].tolist()
    assert found["label"].tolist()[:3] == frame["label"].tolist()[:3]
    assert after >= before


def _unshown(rule: Rule) -> Rule:
    return Rule(*(tuple(mention._replace(shown="") for mention in own) for own in (rule.like, rule.unlike)))


def test_a_latent_that_never_or_hardly_fires_gets_no_rule(train: Firings, lexicon: Lexicon) -> None:
    assert learnt(3, train, lexicon) is None
    assert learnt(4, train, lexicon) is None
    assert rule_to_text(None) == TOO_RARE


def test_learning_again_gives_the_same_rule(train: Firings, lexicon: Lexicon) -> None:
    assert learnt(1, train, lexicon) == learnt(1, train, lexicon)


def test_trials_give_a_row_for_every_form_of_rule(train: Firings, lexicon: Lexicon) -> None:
    corpus = CorpusFirings(WORDS, 0, {4: LayerFirings(train, planted(1))})
    lines = list(run_trials(corpus, lexicon, families=[4], features=N_LATENTS, sample=200, seed=0))
    assert lines[0] == "| rule | layer 4 | beats guessing |"
    f1_of = {cells[1].strip(): float(cells[2]) for line in lines[2:] if (cells := line.split("|"))}
    # Latents 0 and 2 are sets of tokens, 1 is not; 3 never fires and 4 fires by chance.
    assert 0.66 < f1_of["any set of tokens, which no label could word"] < 0.75
    assert f1_of["5 mentions, 6 families"] == 1
    assert "5 mentions, 4 families" in f1_of


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
