from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict

import numpy as np
import pytest

from feature_tracker.corpus.documents import Windows, whole_windows
from feature_tracker.corpus.origin import fingerprint
from feature_tracker.labelling.firings import PASSAGE_TOKENS, CorpusText, Firings, Occasions, find_firings
from feature_tracker.labelling.prompts import explain_prompt, judge_prompt
from feature_tracker.labelling.questions import (
    ExplainQuestion,
    ExplainQuestions,
    JudgeQuestions,
    MarkedPassage,
    MarkedToken,
    Wording,
)
from feature_tracker.labelling.sampling import FIRING_PER_STRATUM, SILENT_EACH, sample_for_judge, sample_for_reader
from feature_tracker.labels.judged import HARD_SILENT, RANDOM_SILENT
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae

WINDOW = 130


def random_text(words: list[str], n_documents: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(words, 400)) + "." for _ in range(n_documents)]


TRAIN_WORDS = ["rates", "rose", "sales", "fell", "bank", "loan", "spread", "policy", "inflation", "margin", "the", "of"]
HELD_OUT_WORDS = ["harbour", "violin", "glacier", "the", "of", "lantern", "orchard", "rates"]


class Opened:
    """A text run through the tiny model."""

    def __init__(self, model: LanguageModel, saes: dict[int, Sae], words: list[str], seed: int) -> None:
        texts = random_text(words, 12, seed)
        ids = [whole_windows([text], model.tokenizer, window=WINDOW) for text in texts]
        document = np.repeat(np.arange(12, dtype=np.int32), [len(part) for part in ids])
        windows = Windows(np.concatenate(ids), document >= 0, document, document % 2, ("even", "odd"))
        self.text = CorpusText(windows, model.tokenizer)
        self.firings: dict[int, Firings] = find_firings(windows, model, saes)
        self.whole = "\n".join(texts)
        by_firings = np.argsort(-np.diff(self.firings[3].starts), kind="stable")
        self.fast, self.slow = int(by_firings[6]), int(by_firings[0])  # the densest fires in many passages


@pytest.fixture(scope="module")
def train(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> Opened:
    return Opened(tiny_model, tiny_saes, TRAIN_WORDS, 0)


@pytest.fixture(scope="module")
def held_out(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> Opened:
    return Opened(tiny_model, tiny_saes, HELD_OUT_WORDS, 1)


@pytest.fixture
def explaining(train: Opened, tiny_saes: dict[int, Sae]) -> ExplainQuestions:
    return ExplainQuestions("tiny", train.firings[3], tiny_saes[3], train.text, frozenset({train.slow}))


def shown_places(opened: Opened, *, slow: bool) -> tuple[Occasions, Occasions]:
    tokens = opened.firings[3].of(opened.slow if slow else opened.fast)
    return tokens, tokens.passages(opened.text.window) if slow else tokens


@pytest.mark.parametrize("slow", [False, True])
def test_a_reader_is_shown_firings_of_every_strength_and_silent_places(train: Opened, slow: bool) -> None:
    tokens, shown = shown_places(train, slow=slow)
    chosen = sample_for_reader(tokens, shown, train.text, np.random.default_rng(0))
    activation = dict(zip(shown.places.tolist(), shown.activations.tolist(), strict=True))
    ranked = sorted(activation.values(), reverse=True)
    for group, place, value, rank in chosen:
        assert shown.possible[place]
        assert value == activation.get(place, 0.0)
        assert (value == 0) == (group in ("contrast", "silent"))
        if value:
            assert rank == pytest.approx(ranked.index(value) / len(ranked), abs=0.01)  # some are equal
            assert {"strong": 0, "middle": 0.1, "weak": 0.3}[group] <= rank + 1 / len(ranked)
            assert rank < {"strong": 0.1, "middle": 0.3, "weak": 0.6}[group] + 1 / len(ranked)
    assert len({place for _, place, _, _ in chosen}) == len(chosen)
    assert chosen[0].activation == max(ranked)


@pytest.mark.parametrize("slow", [False, True])
def test_a_judge_is_asked_about_every_stratum_and_both_kinds_of_silence(held_out: Opened, slow: bool) -> None:
    tokens, shown = shown_places(held_out, slow=slow)
    sampled = sample_for_judge(tokens, shown, held_out.text, np.random.default_rng(0))
    order = shown.places[shown.strongest_first()].tolist()
    counts = Counter(stratum for _, stratum in sampled)
    for place, stratum in sampled:
        if stratum in (RANDOM_SILENT, HARD_SILENT):
            assert place not in order
        else:
            assert (0, 0.1, 0.3, 0.6)[stratum] * len(order) - 1 <= order.index(place)
            assert order.index(place) <= (0.1, 0.3, 0.6, 1)[stratum] * len(order)
    assert all(counts[stratum] <= n for stratum, n in enumerate(FIRING_PER_STRATUM))
    if not slow:
        assert [counts[stratum] for stratum in range(4)] == list(FIRING_PER_STRATUM)
        assert counts[RANDOM_SILENT] == counts[HARD_SILENT] == SILENT_EACH
        assert [stratum for _, stratum in sampled] != sorted(stratum for _, stratum in sampled)


def test_hard_silent_tokens_are_of_words_on_which_the_feature_fires(held_out: Opened) -> None:
    tokens, shown = shown_places(held_out, slow=False)
    words = held_out.text.words
    fired_on = set(words.words[tokens.places].tolist())
    sampled = sample_for_judge(tokens, shown, held_out.text, np.random.default_rng(0))
    near = {int(place) + step for place in tokens.places for step in (-2, -1, 1, 2)}
    for place, stratum in sampled:
        if stratum == HARD_SILENT:
            assert words.words[place] in fired_on or place in near


def test_a_marked_token_stands_where_the_feature_fires(explaining: ExplainQuestions, train: Opened) -> None:
    question = explaining.question(train.fast)
    assert not question.slow
    for excerpt in question.excerpts:
        assert isinstance(excerpt.text, MarkedToken)
        assert excerpt.text.before + excerpt.text.token + excerpt.text.after in train.whole
        assert (excerpt.share > 0) == (excerpt.group in ("strong", "middle", "weak"))
    assert question.excerpts[0].share == 1.0
    assert all(0 <= word.share <= 1 and 0 <= word.strong <= 1 for word in question.words)
    assert question.twin != train.fast
    prompt = explain_prompt(question)
    assert prompt.count("⟪") == len(question.excerpts)
    assert f"L3/F{train.fast}" in prompt


def test_a_slow_feature_is_shown_by_whole_passages(
    explaining: ExplainQuestions, train: Opened, tiny_model: LanguageModel
) -> None:
    question = explaining.question(train.slow)
    assert question.slow
    for excerpt in question.excerpts:
        assert isinstance(excerpt.text, MarkedPassage)
        assert "".join(excerpt.text.words) in train.whole
        assert len(tiny_model.tokenizer("".join(excerpt.text.words)).input_ids) <= PASSAGE_TOKENS + 2
        fires = sum(tenths > 0 for tenths in excerpt.text.tenths)
        assert excerpt.group in ("contrast", "silent") or fires
    assert "whole passages" in explain_prompt(question)


def test_no_held_out_text_is_in_an_explain_question(explaining: ExplainQuestions, train: Opened) -> None:
    unknown = set(HELD_OUT_WORDS) - set(TRAIN_WORDS)
    for latent in (train.fast, train.slow):
        written = json.dumps(asdict(explaining.question(latent)))
        assert not any(word in written for word in unknown)


def test_no_key_is_in_a_judge_question(held_out: Opened, tiny_saes: dict[int, Sae]) -> None:
    asking = JudgeQuestions(
        "tiny", fingerprint(tiny_saes), held_out.firings[3], held_out.text, frozenset({held_out.slow})
    )
    for latent in (held_out.fast, held_out.slow):
        asked = asking.question(latent, Wording("A label", "A detail."))
        assert asked is not None
        question, key = asked
        assert set(asdict(question)) == {"question", "bundle", "label", "detail", "passages", "excerpts"}
        assert all(set(asdict(excerpt)) == {"before", "token", "after"} for excerpt in question.excerpts)
        assert "F" + str(latent) not in judge_prompt(question)
        assert len(key.stratum) == len(question.excerpts)
        assert (key.layer, key.feature, key.label, key.control) == (3, latent, "A label", False)
        assert sum(part.firings for part in key.strata) == pytest.approx(1)
        assert sum(part.activation for part in key.strata) == pytest.approx(1)
        control = asking.question(latent, Wording("Other", ""), control=True)
        assert control is not None
        assert control[0].question != question.question
        assert control[0].excerpts != question.excerpts
        other = asking.question(latent, Wording("Other", ""))
        assert other is not None
        assert other[0].excerpts == question.excerpts  # the same places, so that labels compare


def test_the_seed_decides_what_is_drawn(held_out: Opened, train: Opened, tiny_saes: dict[int, Sae]) -> None:
    def explain(seed: int) -> ExplainQuestion:
        return ExplainQuestions(
            "tiny", train.firings[3], tiny_saes[3], train.text, frozenset({train.slow}), seed=seed
        ).question(train.fast)

    assert explain(0) == explain(0) != explain(1)


def test_a_feature_that_hardly_fires_is_not_judged(held_out: Opened, tiny_saes: dict[int, Sae]) -> None:
    firings = held_out.firings[3]
    seldom = Firings(3, np.array([0, 5]), firings.places[:5], firings.activations[:5], firings.is_sink)
    asking = JudgeQuestions("tiny", "", seldom, held_out.text, frozenset())
    assert asking.question(0, Wording("A label", "")) is None
