from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import tokenize
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.run import trace_text, trace_tokens
from feature_tracker.tracing.trace import Trace
from tests.support import SENTENCES


def naive_activations(text: str, model: LanguageModel, saes: dict[int, Sae], window: int) -> dict[int, np.ndarray]:
    """Dense activations a layer, by transformers' hidden states, one window at a time."""
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    dense: dict[int, list[torch.Tensor]] = {layer: [] for layer in saes}
    for start in range(0, len(ids), window - 1):
        row = torch.tensor([[model.bos_id, *ids[start : start + window - 1]]])
        with torch.inference_mode():
            hidden = model.decoder(input_ids=row, output_hidden_states=True).hidden_states
        for layer, sae in saes.items():
            pre = sae.pre_activations(hidden[layer + 1][0, 1:])
            kept = torch.zeros_like(pre)
            top = pre.topk(sae.k, dim=-1)
            dense[layer].append(kept.scatter(-1, top.indices, top.values))
    return {layer: torch.cat(rows).numpy() for layer, rows in dense.items()}


def test_trace_equals_hidden_states_encoded_one_window_at_a_time(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_bundle: Bundle, tiny_trace: Trace
) -> None:
    expected = naive_activations(SENTENCES, tiny_model, tiny_saes, tiny_bundle.window)
    assert len(tiny_trace.tokens.window_starts) > 3
    assert tiny_trace.n_tokens % (tiny_bundle.window - 1) != 0, "the last window should be a short one"
    for layer, dense in expected.items():
        np.testing.assert_allclose(tiny_trace.layers[layer].dense(), dense, rtol=1e-4, atol=1e-5)


def test_bos_is_never_among_the_tokens_of_a_trace(tiny_trace: Trace, tiny_model: LanguageModel) -> None:
    n_tokens = len(tiny_model.tokenizer(SENTENCES, add_special_tokens=False)["input_ids"])
    assert tiny_trace.n_tokens == n_tokens
    assert all(len(layer.values) == n_tokens for layer in tiny_trace.layers.values())
    assert "".join(tiny_trace.token_texts) == SENTENCES


def test_column_equals_the_dense_matrix(tiny_trace: Trace) -> None:
    for layer, layer_trace in tiny_trace.layers.items():
        for index in range(0, 40, 7):
            assert np.array_equal(tiny_trace.column(Feature(layer, index)), layer_trace.dense()[:, index])


def test_one_word_gives_a_trace(tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_bundle: Bundle) -> None:
    assert trace_text("x", tiny_model, tiny_saes, tiny_bundle).n_tokens == 1


def test_sessions_in_threads_get_their_own_traces(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_bundle: Bundle
) -> None:
    texts = [SENTENCES[10 * i :] for i in range(6)]
    expected = [trace_text(text, tiny_model, tiny_saes, tiny_bundle) for text in texts]
    got: dict[int, Trace] = {}

    def run(i: int) -> None:
        for _ in range(5):
            got[i] = trace_text(texts[i], tiny_model, tiny_saes, tiny_bundle)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, trace in enumerate(expected):
        for layer in trace.layers:
            assert np.array_equal(got[i].layers[layer].indices, trace.layers[layer].indices)
            assert np.array_equal(got[i].layers[layer].values, trace.layers[layer].values)


def test_progress_ends_at_the_whole(tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_bundle: Bundle) -> None:
    shares: list[float] = []
    trace_text(SENTENCES, tiny_model, tiny_saes, tiny_bundle, lambda _what, share: shares.append(share))
    assert shares[-1] == 1.0
    assert shares == sorted(shares)


@pytest.mark.model
def test_a_window_is_traced_as_if_it_stood_alone(builtin_model: LanguageModel, builtin_saes: dict[int, Sae]) -> None:
    window = 16
    text = tokenize(
        "Rates rose. Shares of banks fell sharply. " * 5, builtin_model.tokenizer, window=window, max_tokens=99
    )
    whole = trace_tokens(text, builtin_model, builtin_saes)
    second = text.text[text.offsets[window - 1, 0] : text.offsets[2 * window - 3, 1]]
    alone = trace_tokens(
        tokenize(second, builtin_model.tokenizer, window=window, max_tokens=99), builtin_model, builtin_saes
    )
    for layer, expected in alone.layers.items():
        got = whole.layers[layer].dense()[window - 1 : 2 * (window - 1)]
        # In bfloat16 a batch of another shape rounds otherwise, so a near-tie may fall the other way.
        distance = np.linalg.norm(got - expected.dense()) / np.linalg.norm(expected.dense())
        assert distance < 0.1, f"layer {layer}"


def test_numbers_that_are_not_finite_are_refused(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], tiny_bundle: Bundle
) -> None:
    broken = {layer: replace(sae, encoder_bias=sae.encoder_bias * float("inf")) for layer, sae in tiny_saes.items()}
    with pytest.raises(TrackerError, match="Layer 1 holds numbers that are not finite"):
        trace_text("Rates rose.", tiny_model, broken, tiny_bundle)
