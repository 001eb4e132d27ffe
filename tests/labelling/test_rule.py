from __future__ import annotations

import numpy as np
import pytest

from feature_tracker.corpus.documents import Windows, whole_windows
from feature_tracker.corpus.top_words import TopWords
from feature_tracker.labelling.firings import PASSAGE_TOKENS, CorpusText, find_firings
from feature_tracker.labelling.questions import sampled_places, strata_of
from feature_tracker.labelling.rule import score_top_words
from feature_tracker.labels.judged import JudgedScores, judged_scores
from feature_tracker.labels.scores import TOP_WORDS
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae

WORDS = ["rates", "rose", "sales", "fell", "bank", "loan", "spread", "policy", "the", "of"]


def test_top_words_are_scored_as_a_judge_who_says_yes_to_them(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae]
) -> None:
    generator = np.random.default_rng(0)
    ids = whole_windows([" ".join(generator.choice(WORDS, 900))], tiny_model.tokenizer, window=130)
    nothing = np.zeros(len(ids), np.int32)
    windows = Windows(ids, nothing == 0, np.arange(len(ids), dtype=np.int32), nothing, ("a",))
    text = CorpusText(windows, tiny_model.tokenizer)
    firings = find_firings(windows, tiny_model, tiny_saes)[3]
    densest = int(np.argmax(np.diff(firings.starts)))
    labels = [
        TopWords("", [latent % 7, (latent + 3) % 7], slow=latent == densest) for latent in range(firings.n_latents)
    ]
    scored = score_top_words(labels, firings, text)
    assert set(scored.frame["f1_method"]) == {TOP_WORDS}
    n_scored = shown = confirmed = 0
    for latent, label in enumerate(labels):
        tokens = firings.of(latent)
        for word in label.words:
            places = text.words.places(word)
            fires = [
                bool(np.isin(places[text.words.occurrences[places] == occurrence], tokens.places).any())
                for occurrence in np.unique(text.words.occurrences[places])
            ]
            shown += bool(fires)
            confirmed += sum(fires) * 2 > len(fires)
        sampled = sampled_places(tokens, text, 3, latent, slow=label.slow, seed=0)
        expected = JudgedScores()
        if sampled is not None:
            n_scored += 1
            length = PASSAGE_TOKENS if label.slow else 1
            answers = [
                any(word in label.words for word in text.words.words[place : place + length].tolist())
                for place, _ in sampled.places
            ]
            expected = judged_scores(strata_of(sampled.shown), [stratum for _, stratum in sampled.places], answers)
        row = scored.frame.iloc[latent][list(JudgedScores._fields)].astype(float).tolist()
        assert row == pytest.approx(list(expected), nan_ok=True)
    assert n_scored > 5
    assert (scored.shown, scored.confirmed) == (shown, confirmed)
    assert 0 < confirmed < shown
