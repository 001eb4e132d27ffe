from __future__ import annotations

import dataclasses
import threading
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import read_residuals
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae
from feature_tracker.steering.generate import (
    Sampling,
    Steering,
    read_prompt,
    run_steered,
    surprise_in_words,
)
from feature_tracker.tracker import Tracker

PROMPT = "The central bank raised its policy rate by a quarter point"
GREEDY = Sampling(n_tokens=12, temperature=0)
FEATURES = [(Feature(1, 5), 1.0), (Feature(3, 2), -0.5), (Feature(3, 30), 0.25)]


def ids_of(tracker: Tracker, text: str = PROMPT) -> torch.Tensor:
    return torch.tensor([[*tracker.tokenize(text).ids.tolist()]])


def with_bos(tracker: Tracker, ids: torch.Tensor) -> torch.Tensor:
    return torch.cat([torch.tensor([[tracker.language_model.bos_id]]), ids], dim=1)


def steering_of(tracker: Tracker, *, only_where: Feature | None = None) -> Steering:
    return Steering(tracker.recipe(FEATURES, only_where=only_where), tracker.saes)


def manually_steered(tracker: Tracker, ids: torch.Tensor, fires: torch.Tensor | None = None) -> torch.Tensor:
    """Logits under hooks of the test's own; the features of a layer are added one after the other.

    Args:
        fires: where to add them, BOS's place first.
    """
    handles = []
    for (layer, latent), strength in FEATURES:
        added = strength * 4.0 * tracker.saes[layer].decoder[latent]  # the table's `max_activation` is 4

        def hook(_block: Any, _args: Any, output: torch.Tensor, added: torch.Tensor = added) -> torch.Tensor:
            weight = torch.arange(output.shape[1]) > 0 if fires is None else fires
            return output + weight[:, None].float() * added

        handles.append(tracker.language_model.decoder.layers[layer].register_forward_hook(hook))
    try:
        with torch.inference_mode():
            return tracker.language_model.model(input_ids=with_bos(tracker, ids), use_cache=False).logits[:, 1:]
    finally:
        for handle in handles:
            handle.remove()


def written(tracker: Tracker, features: list[tuple[Feature, float]], sampling: Sampling, **options: Any) -> Any:
    *_, last = tracker.steer(PROMPT, tracker.recipe(features, **options), sampling)
    return last


def test_steering_adds_the_directions_as_a_hook_of_ones_own_does(tracker: Tracker) -> None:
    ids = ids_of(tracker)
    logits = run_steered(tracker.language_model, ids, steering_of(tracker), keep=ids.shape[1])
    expected = manually_steered(tracker, ids)
    assert (logits - expected).abs().max() < 1e-5
    assert (logits - run_steered(tracker.language_model, ids, None, keep=ids.shape[1])).abs().max() > 0.1


def test_a_condition_steers_the_positions_on_which_its_feature_fires(tracker: Tracker) -> None:
    column = tracker.trace(PROMPT).layers[1].dense()
    condition = Feature(1, int(np.abs((column > 0).mean(axis=0) - 0.5).argmin()))
    fires = torch.from_numpy(np.concatenate([[False], column[:, condition.index] > 0]))
    assert 0 < fires.sum() < len(fires) - 1
    ids = ids_of(tracker)
    logits = run_steered(tracker.language_model, ids, steering_of(tracker, only_where=condition), keep=ids.shape[1])
    assert (logits - manually_steered(tracker, ids, fires)).abs().max() < 1e-5


def test_a_condition_that_is_among_the_largest_without_firing_doesnt_hold(tracker: Tracker) -> None:
    silent = dataclasses.replace(tracker.saes[1], encoder_bias=torch.full((40,), -1e6), k=40)
    ids, steering = ids_of(tracker), steering_of(tracker, only_where=Feature(1, 7))
    steering = dataclasses.replace(steering, saes=tracker.saes | {1: silent})
    logits = run_steered(tracker.language_model, ids, steering, keep=5)
    assert torch.equal(logits, run_steered(tracker.language_model, ids, None, keep=5))


def test_bos_is_never_steered(tracker: Tracker) -> None:
    streams: list[torch.Tensor] = []
    ids = with_bos(tracker, ids_of(tracker))
    decoder = tracker.language_model.decoder
    read_residuals(decoder, ids, [4], lambda _layer, resid: streams.append(resid.clone()))
    with steering_of(tracker).applied(decoder, first=1):
        read_residuals(decoder, ids, [4], lambda _layer, resid: streams.append(resid.clone()))
    unsteered, steered = streams
    assert torch.equal(unsteered[:, 0], steered[:, 0])
    assert (unsteered[:, 1:] != steered[:, 1:]).any(dim=-1).all()


def test_windows_without_bos_are_steered_from_their_first_token(tracker: Tracker) -> None:
    without = dataclasses.replace(tracker.language_model, prepend_bos=False)
    ids, (feature, strength) = ids_of(tracker), FEATURES[0]
    steering = Steering(tracker.recipe([(feature, strength)]), tracker.saes)
    added = strength * 4.0 * tracker.saes[feature.layer].decoder[feature.index]
    block = without.decoder.layers[feature.layer]
    handle = block.register_forward_hook(lambda _block, _args, output: output + added)
    try:
        with torch.inference_mode():
            expected = without.model(input_ids=ids, use_cache=False).logits
    finally:
        handle.remove()
    assert (run_steered(without, ids, steering, keep=ids.shape[1]) - expected).abs().max() < 1e-5


@pytest.mark.parametrize("only_where", [None, Feature(1, 5)])
def test_steering_with_a_cache_equals_steering_without(tracker: Tracker, only_where: Feature | None) -> None:
    model, steering = tracker.language_model, steering_of(tracker, only_where=only_where)
    ids = ids_of(tracker, PROMPT + " as inflation stayed above target.")
    cache = DynamicCache(config=model.model.config)
    parts = [ids[:, :9], *ids[:, 9:].split(1, dim=1)]
    cached = torch.cat([run_steered(model, part, steering, keep=part.shape[1], cache=cache) for part in parts], dim=1)
    whole = run_steered(model, ids, steering, keep=ids.shape[1])
    assert cache.get_seq_length() == 1 + ids.shape[1]
    assert (cached - whole).abs().max() < 1e-5


@pytest.mark.parametrize("temperature", [0, 1])
def test_what_is_written_is_what_forwards_without_a_cache_choose(tracker: Tracker, temperature: float) -> None:
    sampling = Sampling(n_tokens=12, temperature=temperature, seed=3)
    last = written(tracker, FEATURES, sampling)
    for continuation, steering in zip(last, (None, steering_of(tracker)), strict=True):
        ids, noise = ids_of(tracker), torch.Generator().manual_seed(3)
        for _ in range(sampling.n_tokens):
            logits = run_steered(tracker.language_model, ids, steering, keep=1)[0, 0]
            drawn = torch.multinomial(logits.softmax(dim=-1), 1, generator=noise) if temperature else logits.argmax()
            ids = torch.cat([ids, drawn.reshape(1, 1)], dim=1)
        assert list(continuation.ids) == ids[0, -sampling.n_tokens :].tolist()
        assert temperature == 0 or len(set(continuation.ids)) > 5
    assert last.steered.ids != last.unsteered.ids


@pytest.mark.parametrize("temperature", [0, 1e-9, 0.8, 2])
@pytest.mark.parametrize("only_where", [None, Feature(1, 5)])
def test_strength_0_writes_what_the_model_writes(
    tracker: Tracker, temperature: float, only_where: Feature | None
) -> None:
    for seed in range(3):
        sampling = Sampling(n_tokens=20, seed=seed, temperature=temperature)
        last = written(tracker, [(Feature(1, 5), 0.0), (Feature(4, 1), 0.0)], sampling, only_where=only_where)
        assert len(last.unsteered.ids) == 20
        assert last.steered == last.unsteered


def test_a_seed_repeats_a_text_and_another_writes_another(tracker: Tracker) -> None:
    texts = [written(tracker, FEATURES, Sampling(seed=seed, temperature=1)) for seed in (0, 0, 1)]
    assert texts[0] == texts[1]
    assert texts[0].unsteered != texts[2].unsteered
    assert texts[0].steered != texts[2].steered


def test_every_step_adds_a_token_to_each_from_none_on(tracker: Tracker) -> None:
    steps = list(tracker.steer(PROMPT, tracker.recipe(FEATURES), Sampling(n_tokens=5)))
    assert [len(step.steered.ids) for step in steps] == list(range(6))
    assert all(later.steered.text.startswith(step.steered.text.rstrip("\ufffd")) for step, later in pairwise(steps))
    tokenizer = tracker.language_model.tokenizer
    assert steps[-1].unsteered.text == tokenizer.decode(steps[-1].unsteered.ids)


def test_a_text_ends_where_the_model_ends_it(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    end = written(tracker, FEATURES, GREEDY).steered.ids[4]
    monkeypatch.setattr(tracker.language_model.model.generation_config, "eos_token_id", [399, end])
    short = written(tracker, FEATURES, GREEDY)
    assert end not in short.steered.ids + short.unsteered.ids
    assert len(short.steered.ids) <= 4


class Broken(Exception):
    pass


def test_nothing_is_steered_after_an_exception_or_a_close(tracker: Tracker, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = tracker.language_model, ids_of(tracker)
    before = run_steered(model, ids, None, keep=3)
    steps = tracker.steer(PROMPT, tracker.recipe(FEATURES), GREEDY)
    list(islice(steps, 4))
    assert torch.equal(run_steered(model, ids, None, keep=3), before)  # between two steps
    steps.close()
    assert torch.equal(run_steered(model, ids, None, keep=3), before)
    list(islice(tracker.steer(PROMPT, tracker.recipe(FEATURES), GREEDY), 4))  # forgotten, as by a tab that is closed
    assert torch.equal(run_steered(model, ids, None, keep=3), before)

    def fails(_sae: Sae, _resid: torch.Tensor) -> None:
        raise Broken

    recipe = tracker.recipe(FEATURES, only_where=Feature(1, 5))
    with monkeypatch.context() as patch:
        patch.setattr(Sae, "encode", fails)
        with pytest.raises(Broken):
            list(tracker.steer(PROMPT, recipe, GREEDY))
    assert torch.equal(run_steered(model, ids, None, keep=3), before)


def test_another_session_is_not_steered(tracker: Tracker) -> None:
    model, ids = tracker.language_model, ids_of(tracker)
    before = run_steered(model, ids, None, keep=3)
    read: list[torch.Tensor] = []
    with steering_of(tracker).applied(model.decoder, first=1):
        other = threading.Thread(target=lambda: read.append(run_steered(model, ids, None, keep=3)))
        other.start()
        other.join()
    assert torch.equal(read[0], before)


def test_sessions_that_write_in_turns_write_what_each_writes_alone(tracker: Tracker) -> None:
    recipes = [tracker.recipe(FEATURES), tracker.recipe([(Feature(4, 3), -1.0)], only_where=Feature(3, 2))]
    alone = [list(tracker.steer(PROMPT, recipe, GREEDY)) for recipe in recipes]
    in_turns = zip(*(tracker.steer(PROMPT, recipe, GREEDY) for recipe in recipes), strict=True)
    assert [list(session) for session in zip(*in_turns, strict=True)] == alone


def test_perplexity_is_that_of_the_unsteered_model(tracker: Tracker) -> None:
    last = written(tracker, FEATURES, Sampling(n_tokens=8))
    for continuation in last:
        ids, logs = ids_of(tracker), []
        for number in continuation.ids:
            logs.append(run_steered(tracker.language_model, ids, None, keep=1)[0, 0].log_softmax(dim=-1)[number])
            ids = torch.cat([ids, torch.tensor([[number]])], dim=1)
        expected = float(torch.stack(logs).mean().neg().exp())
        assert tracker.perplexity(PROMPT, continuation) == pytest.approx(expected, rel=1e-4)
    assert np.isnan(tracker.perplexity(PROMPT, last.steered._replace(ids=())))


@pytest.mark.parametrize(
    ("perplexities", "said"),
    [
        ((8.0, 97.0), "12 times as surprising a token"),
        ((8.0, 4.0), "0.5 times as surprising"),
        ((8.0, 8.1), "no more and no less surprising"),
        ((8.0, float("nan")), "Nothing was written"),
    ],
)
def test_perplexities_are_put_into_words(perplexities: tuple[float, float], said: str) -> None:
    assert said in surprise_in_words(*perplexities)


def test_a_continuation_is_traced_in_the_context_of_its_prompt(tracker: Tracker) -> None:
    continuation = " as inflation stayed"
    trace, positions = tracker.trace_continuation(PROMPT + "  ", continuation)
    assert trace.tokens.text == PROMPT + continuation
    assert "".join(trace.token_texts[position] for position in positions) == continuation
    alone = tracker.trace(continuation)
    values = trace.layers[4].dense()[positions]
    assert not np.allclose(values, alone.layers[4].dense()[: len(positions)], atol=1e-3)
    assert not len(tracker.trace_continuation(PROMPT, "")[1])


def test_spaces_at_a_prompts_end_are_left_to_the_model(tracker: Tracker) -> None:
    recipe = tracker.recipe(FEATURES)
    first, second = (list(tracker.steer(text, recipe, GREEDY))[-1] for text in (PROMPT, PROMPT + "  "))
    assert first == second


@pytest.mark.parametrize("prompt", ["", "  \n\t "])
def test_a_blank_prompt_is_refused(tracker: Tracker, prompt: str) -> None:
    with pytest.raises(TrackerError, match="There is no prompt yet"):
        tracker.steer(prompt, tracker.recipe(FEATURES))


def test_a_prompt_that_leaves_no_room_is_refused(tracker: Tracker) -> None:
    model = tracker.language_model
    n_tokens = read_prompt(PROMPT, model, window=64, n_tokens=1).n_tokens
    assert read_prompt(PROMPT, model, window=n_tokens + 6, n_tokens=5).n_tokens == n_tokens
    with pytest.raises(TrackerError, match=f"has {n_tokens} tokens, and 5 are to be written: 1 more than the"):
        read_prompt(PROMPT, model, window=n_tokens + 5, n_tokens=5)
    with pytest.raises(TrackerError, match="Shorten the prompt"):
        tracker.steer(PROMPT * 20, tracker.recipe(FEATURES))


@pytest.mark.parametrize(
    "values",
    [
        {"n_tokens": 0}, {"n_tokens": 201}, {"seed": -1}, {"seed": 2**32}, {"temperature": -0.1},
        {"temperature": float("nan")}, {"temperature": float("inf")},
    ],
)  # fmt: skip
def test_sampling_out_of_range_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(TrackerError, match=f"{next(iter(values))} must be from"):
        Sampling(**values)


def test_numbers_that_are_not_finite_are_told(tracker: Tracker) -> None:
    saes = {layer: dataclasses.replace(sae, decoder=sae.decoder * torch.inf) for layer, sae in tracker.saes.items()}
    steering = dataclasses.replace(steering_of(tracker), saes=saes)
    with pytest.raises(TrackerError, match="not finite"):
        run_steered(tracker.language_model, ids_of(tracker), steering, keep=1)


@pytest.mark.model
def test_the_built_in_model_is_steered_as_by_hand(builtin_model: LanguageModel, builtin_saes: dict[int, Sae]) -> None:
    from feature_tracker.bundles.bundle import load_bundle
    from feature_tracker.labels.csv_files import open_labels
    from feature_tracker.labels.table import latents_of

    bundle = load_bundle()
    tracker = Tracker(bundle, builtin_model, builtin_saes, open_labels(bundle, latents_of(builtin_saes)))
    recipe = tracker.recipe([(Feature(16, 11), 1.0)])
    amount = float(tracker.labels.frame.at[(16, 11), "max_activation"])
    assert recipe.features[0].amount == pytest.approx(amount)
    sampling = Sampling(n_tokens=8, temperature=0)
    *_, last = tracker.steer(PROMPT, recipe, sampling)
    model = tracker.exact_model()

    def hook(_block: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.cat([output[:, :1], output[:, 1:] + amount * builtin_saes[16].decoder[11]], dim=1)

    ids = with_bos(tracker, ids_of(tracker))
    handle = model.decoder.layers[16].register_forward_hook(hook)
    try:
        with torch.inference_mode():
            for _ in range(sampling.n_tokens):
                ids = torch.cat([ids, model.model(input_ids=ids, use_cache=False).logits[:, -1:].argmax(dim=-1)], dim=1)
    finally:
        handle.remove()
    assert list(last.steered.ids) == ids[0, -sampling.n_tokens :].tolist()
    assert last.steered.ids != last.unsteered.ids
    unsteered = list(tracker.steer(PROMPT, tracker.recipe([(Feature(16, 11), 0.0)]), sampling))[-1]
    assert unsteered.steered == unsteered.unsteered == last.unsteered
