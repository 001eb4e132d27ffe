from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from feature_tracker.bundles.bundle import Bundle
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import ResidReader, read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import tokenize
from feature_tracker.sae.topk import Sae
from feature_tracker.tracing.attention_sinks import attention_sinks
from feature_tracker.tracing.recording import part_of
from feature_tracker.tracing.run import Batch, Encoded, batched, run, trace_tokens
from feature_tracker.tracing.trace import Trace
from feature_tracker.tracker import Tracker
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


def test_one_word_gives_a_trace(tiny_tracker: Tracker) -> None:
    assert tiny_tracker.trace("x").n_tokens == 1


def test_sessions_in_threads_get_their_own_traces(tiny_tracker: Tracker) -> None:
    texts = [SENTENCES[10 * i :] for i in range(6)]
    expected = [tiny_tracker.trace(text) for text in texts]
    got: dict[int, Trace] = {}

    def trace_again(i: int) -> None:
        for _ in range(5):
            got[i] = tiny_tracker.trace(texts[i])

    threads = [threading.Thread(target=trace_again, args=(i,)) for i in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, trace in enumerate(expected):
        for layer in trace.layers:
            assert np.array_equal(got[i].layers[layer].indices, trace.layers[layer].indices)
            assert np.array_equal(got[i].layers[layer].values, trace.layers[layer].values)


def test_progress_ends_at_the_whole(tiny_tracker: Tracker) -> None:
    shares: list[float] = []
    tiny_tracker.trace(SENTENCES, progress=lambda _what, share: shares.append(share))
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


def test_numbers_that_are_not_finite_are_refused(tiny_tracker: Tracker, tiny_saes: dict[int, Sae]) -> None:
    broken = {layer: replace(sae, encoder_bias=sae.encoder_bias * float("inf")) for layer, sae in tiny_saes.items()}
    with pytest.raises(TrackerError, match="Layer 1 gives numbers that are not finite"):
        replace(tiny_tracker, saes=broken).trace("Rates rose.")


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=30), tokens=st.integers(1, 40))
def test_batches_hold_every_window_once_whole_ones_unpadded(lengths: list[int], tokens: int) -> None:
    starts = np.cumsum([0, *lengths[:-1]]) + 1  # 0 is BOS
    windows = [np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)]
    batches = list(batched(windows, window=8, bos_id=0, tokens=tokens))
    rows = []
    for batch in batches:
        assert (batch.token_ids[:, 0] == 0).all()
        assert batch.n_windows == 1 or batch.token_ids.numel() <= tokens
        is_token = batch.token_ids[:, 1:] != 0
        assert batch.n_tokens == int(is_token.sum())
        assert (batch.is_token is None) == bool(is_token.all())
        rows += [row[keep].tolist() for row, keep in zip(batch.token_ids[:, 1:], is_token, strict=True)]
    assert sorted(rows) == sorted(window.tolist() for window in windows)
    whole = [row for row in rows if len(row) == 7]
    assert whole == [window.tolist() for window in windows if len(window) == 7]


def test_streams_and_activations_of_a_padded_batch_belong_to_the_same_tokens(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae]
) -> None:
    windows = [np.array([5, 6, 7]), np.array([8]), np.array([9, 10])]
    streams: dict[int, torch.Tensor] = {}
    tops: dict[int, Encoded] = {}
    batches = batched(windows, window=16, bos_id=tiny_model.bos_id)

    def keep_stream(layer: int, resid: torch.Tensor, batch: Batch) -> None:
        streams[layer] = batch.tokens_of(resid).clone()

    def keep_top(layer: int, top: Encoded, _batch: Batch) -> None:
        tops[layer] = top

    (batch,) = run(
        batches, tiny_model, sorted(tiny_saes), stream_sinks=[keep_stream], saes=tiny_saes, activation_sinks=[keep_top]
    )
    assert batch.n_tokens == 6
    for layer, sae in tiny_saes.items():
        assert streams[layer].shape == (6, tiny_model.d_model)
        again = sae.encode(streams[layer])
        assert torch.equal(again.values, tops[layer].values)
        assert torch.equal(again.indices.int(), tops[layer].indices)
        assert tops[layer].attention_sink.shape == (6,)


def test_an_attention_sink_is_a_token_four_times_as_long_as_the_median_of_its_window() -> None:
    resid = torch.ones(2, 5, 4)
    resid[0, 1] *= 3  # nine times the squared norm
    resid[1, 2] *= 1.9
    resid[1, 3:] *= 100  # padding, which must not move the median
    is_token = torch.tensor([[True] * 5, [True, True, True, False, False]])
    marked = attention_sinks(resid, is_token)
    assert marked[is_token].tolist() == [False, True, False, False, False, False, False, False]


def test_a_sink_that_fails_leaves_no_hook(tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the disk is full")

    hooks = [len(block._forward_hooks) for block in tiny_model.decoder.layers]  # transformers leaves some of its own
    batches = batched([np.array([5, 6])], window=16, bos_id=tiny_model.bos_id)
    with pytest.raises(RuntimeError, match="disk"):
        list(run(batches, tiny_model, sorted(tiny_saes), stream_sinks=[fails]))
    assert [len(block._forward_hooks) for block in tiny_model.decoder.layers] == hooks


@pytest.fixture
def ten_batches(tiny_model: LanguageModel) -> list[Batch]:
    rng = np.random.default_rng(0)
    windows = [rng.integers(1, 300, 16 - number) for number in range(10)]
    return list(batched(windows, window=18, bos_id=tiny_model.bos_id, tokens=1))


def test_batches_that_run_at_once_come_in_their_order_with_the_bits_of_one_core(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], ten_batches: list[Batch]
) -> None:
    def ran(at_once: int) -> tuple[list[Batch], list[tuple[int, Encoded]], set[int]]:
        encoded: list[tuple[int, Encoded]] = []
        threads: set[int] = set()

        def on_one_core(decoder: nn.Module, ids: torch.Tensor, layers: Sequence[int], reader: ResidReader) -> None:
            threads.add(threading.get_ident())
            assert torch.get_num_threads() == 1
            read_residuals(decoder, ids, layers, reader)

        def keep(layer: int, of_layer: Encoded, batch: Batch) -> None:
            assert batch is ten_batches[len(encoded) // len(tiny_saes)]
            encoded.append((layer, of_layer))

        yielded = run(
            ten_batches,
            tiny_model,
            sorted(tiny_saes),
            saes=tiny_saes,
            activation_sinks=[keep],
            forward=on_one_core,
            at_once=at_once,
        )
        return list(yielded), encoded, threads

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        batches, serial, _ = ran(1)
        torch.set_num_threads(3)
        batches_at_once, at_once, threads = ran(3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert batches == batches_at_once == ten_batches
    assert 1 < len(threads) <= 3
    for (layer, encoded), (layer_at_once, encoded_at_once) in zip(serial, at_once, strict=True):
        assert layer == layer_at_once
        assert all(map(torch.equal, encoded, encoded_at_once))


def test_batches_that_run_at_once_can_fail_and_be_left(
    tiny_model: LanguageModel, tiny_saes: dict[int, Sae], ten_batches: list[Batch]
) -> None:
    before = torch.get_num_threads()
    n_forwards = 0

    def fails_in_the_third(decoder: nn.Module, ids: torch.Tensor, layers: Sequence[int], reader: ResidReader) -> None:
        nonlocal n_forwards
        n_forwards += 1
        if len(ids[0]) == 15:
            raise RuntimeError("no memory")
        read_residuals(decoder, ids, layers, reader)

    layers = sorted(tiny_saes)
    ran = run(ten_batches, tiny_model, layers, forward=fails_in_the_third, at_once=2)
    assert [batch.numbers for batch in (next(ran), next(ran))] == [(0,), (1,)]
    with pytest.raises(RuntimeError, match="no memory"):
        next(ran)
    assert n_forwards < 10
    left = run(ten_batches, tiny_model, layers, at_once=2)
    next(left)
    left.close()
    assert torch.get_num_threads() == before


def test_a_trace_counts_no_attention_sink_of_any_layer(tiny_tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    layers = cycle([1, 3])  # the position that becomes a sink in one layer, and in the next

    def one_sink(resid: torch.Tensor, _is_token: torch.Tensor | None = None) -> torch.Tensor:
        marked = torch.zeros(resid.shape[:-1], dtype=torch.bool)
        marked[..., next(layers)] = True
        return marked

    monkeypatch.setattr("feature_tracker.tracing.run.attention_sinks", one_sink)
    trace = tiny_tracker.trace("Rates rose")
    assert trace.n_tokens > 4
    assert trace.counted.tolist() == [position for position in range(trace.n_tokens) if position not in (1, 3)]


def test_sixteen_threads_give_each_text_the_serial_bits(tiny_tracker: Tracker) -> None:
    texts = [SENTENCES[7 * i : 7 * i + 150 + 20 * i] for i in range(10)]
    expected = [tiny_tracker.trace(text) for text in texts]
    wrong: list[int] = []

    def trace_all(first: int) -> None:
        for i in [*range(first, 10), *range(first)]:
            layers = tiny_tracker.trace(texts[i]).layers
            for layer, serial in expected[i].layers.items():
                same = np.array_equal(serial.values, layers[layer].values)
                if not (same and np.array_equal(serial.indices, layers[layer].indices)):
                    wrong.append(i)

    threads = [threading.Thread(target=trace_all, args=(number % 10,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_a_text_alone_has_the_bits_that_it_has_between_others(tiny_tracker: Tracker) -> None:
    # Each window is a forward of its own, so neither its neighbours nor the length of the text change its numbers.
    window = tiny_tracker.bundle.window - 1
    whole = tiny_tracker.tokenize(SENTENCES)
    cut = part_of(whole, 1, 1)
    alone = trace_tokens(cut, tiny_tracker.language_model, tiny_tracker.saes)
    for layer, layer_trace in tiny_tracker.trace(SENTENCES).layers.items():
        assert np.array_equal(layer_trace.values[window : 2 * window], alone.layers[layer].values)
