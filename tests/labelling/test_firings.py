from __future__ import annotations

import numpy as np
import pytest
import torch

from feature_tracker.corpus.documents import Windows, whole_windows
from feature_tracker.labelling.firings import PASSAGE_TOKENS, CorpusText, Occasions, find_firings, passage_starts
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.attention_sinks import attention_sinks
from tests.support import SENTENCES, made_up_windows

WINDOW = 16


def test_firings_are_those_of_the_encoder_without_attention_sinks(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae]
) -> None:
    windows = made_up_windows(9, WINDOW)
    streams: dict[int, torch.Tensor] = {}
    ids = torch.from_numpy(windows.token_ids.astype(np.int64))
    read_residuals(tiny_model.decoder, ids, sorted(tiny_saes), lambda layer, resid: streams.update({layer: resid}))
    for layer, firings in find_firings(windows, tiny_model, tiny_saes).items():
        resid, sae = streams[layer][:, 1:], tiny_saes[layer]
        top = sae.encode(resid)
        dense = torch.zeros(*top.values.shape[:2], sae.n_latents).scatter(-1, top.indices, top.values)
        sinks = attention_sinks(resid)
        expected = torch.where(sinks[..., None], 0, dense).flatten(0, 1).numpy()
        assert firings.n_latents == sae.n_latents
        np.testing.assert_array_equal(firings.is_sink, sinks.flatten())
        for latent in range(sae.n_latents):
            tokens = firings.of(latent)
            np.testing.assert_array_equal(tokens.places, np.flatnonzero(expected[:, latent]))
            np.testing.assert_allclose(tokens.activations, expected[tokens.places, latent], rtol=1e-4)
            silent = (expected[:, latent] == 0) & ~sinks.flatten().numpy()
            np.testing.assert_array_equal(tokens.silent, np.flatnonzero(silent))


def test_a_feature_fires_in_a_passage_where_it_fires_on_a_fifth_of_the_tokens() -> None:
    window = 2 * PASSAGE_TOKENS + 7  # what is left of a window is in no passage
    places = np.concatenate([np.arange(12), 60 + np.arange(11), [125], window + 60 + np.arange(0, 60, 2)])
    tokens = Occasions(places, np.ones(len(places), np.float32), np.ones(2 * window, bool), 1)
    passages = tokens.passages(window)
    assert passages.places.tolist() == [0, window + 60]
    assert passages.activations == pytest.approx([12 / 60, 0.5])
    assert passages.silent.tolist() == [60, window]
    assert passage_starts(2, window).tolist() == [0, 60, window, window + 60]


def test_text_is_told_apart_by_document_source_and_place(tiny_model: LanguageModel) -> None:
    windows = made_up_windows(4, WINDOW)
    text = CorpusText(windows, tiny_model.tokenizer)
    place = 2 * (WINDOW - 1) + 3
    assert (text.document(place), text.source(place), text.position(place)) == (1, "even", 4)
    assert text.n_tokens == 4 * (WINDOW - 1)
    sentences = whole_windows([SENTENCES], tiny_model.tokenizer, window=WINDOW)
    written = CorpusText(windows._replace(token_ids=sentences[:4]), tiny_model.tokenizer)
    whole = "".join("".join(written.texts(row * (WINDOW - 1))) for row in range(4))
    assert SENTENCES.startswith(whole)


def test_words_that_were_not_met_before_have_no_number(tiny_model: LanguageModel) -> None:
    windows = made_up_windows(4, WINDOW)
    first = Windows(*(part[:1] for part in windows[:4]), windows.sources)
    known = CorpusText(first, tiny_model.tokenizer)
    numbers = known.words.words
    from_known = CorpusText(windows, tiny_model.tokenizer, known=known.reader).words
    np.testing.assert_array_equal(from_known.words[: WINDOW - 1], numbers)
    assert len(from_known.shown) == len(known.words.shown)
    assert from_known.words.max() < len(known.words.shown)
    for word in range(len(from_known.shown)):
        assert from_known.places(word).tolist() == np.flatnonzero(from_known.words == word).tolist()
