from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from feature_tracker.circuits.ablation import ablate, effects_of
from feature_tracker.circuits.attribution import attribute
from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.model.hooks import replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.sae.topk import Sae, TopK
from feature_tracker.tracing.recording import Recording, record
from feature_tracker.tracing.trace import Trace


def double(sae: Sae) -> Sae:
    return Sae(*(t.double() for t in (sae.encoder_weight, sae.encoder_bias, sae.decoder, sae.b_dec)), sae.k)


@pytest.fixture(scope="module")
def exact_model(tiny_model: LanguageModel) -> LanguageModel:
    """The tiny Llama in float64, including its norms: transformers' LlamaRMSNorm always computes in float32."""
    model = copy.deepcopy(tiny_model.model).double()
    for block in model.get_decoder().layers:
        for name in ("input_layernorm", "post_attention_layernorm"):
            old = getattr(block, name)
            norm = torch.nn.RMSNorm(len(old.weight), eps=old.variance_epsilon, dtype=torch.float64)
            norm.weight = old.weight
            setattr(block, name, norm)
    return LanguageModel(model.requires_grad_(False), tiny_model.tokenizer)


@pytest.fixture(scope="module")
def recording(tiny_trace: Trace, exact_model: LanguageModel, tiny_saes: dict[int, Sae]) -> Recording:
    """Several windows of 15 tokens in float64, which finite differences need."""
    return record(tiny_trace.tokens, exact_model, {layer: double(sae) for layer, sae in tiny_saes.items()})


def strongest(recording: Recording, layer: int, n: int) -> list[Feature]:
    totals = recording.trace.layers[layer].dense().sum(axis=0)
    return [Feature(layer, int(index)) for index in np.argsort(-totals)[:n]]


def target_sum(recording: Recording, target: Feature, resid: dict[int, torch.Tensor], layer: int) -> float:
    """The target's summed activation given changed streams of `layer`, by window. Its top-k set is held fixed."""
    sae, total = recording.saes[target.layer], 0.0
    for number, window in enumerate(recording.windows):
        stream = window.run(layer, resid[number][None], [target.layer])[target.layer][0, 1:]
        fires = recording.trace.layers[target.layer].column(target.index)[recording.tokens_of(number)] > 0
        total += float(sae.pre_activations(stream)[torch.from_numpy(fires), target.index].sum())
    return total


def streams(recording: Recording, layer: int) -> dict[int, torch.Tensor]:
    return {number: window.resid[layer].clone() for number, window in enumerate(recording.windows)}


@pytest.mark.parametrize(("source_layer", "target_layer"), [(1, 3), (3, 4), (1, 4)])
def test_contributions_equal_central_finite_differences(
    recording: Recording, source_layer: int, target_layer: int
) -> None:
    targets = strongest(recording, target_layer, 3)
    by_feature = attribute(recording, targets).upstream[source_layer].by_feature()
    step = 1e-5
    for target, contributions in zip(targets, by_feature, strict=True):
        for source in strongest(recording, source_layer, 4):
            column = torch.from_numpy(recording.trace.column(source)).double()
            direction = recording.saes[source_layer].decoder[source.index]
            sums = []
            for sign in (1, -1):
                changed = streams(recording, source_layer)
                for number, resid in changed.items():
                    resid[1:] += sign * step * column[recording.tokens_of(number)][:, None] * direction
                sums.append(target_sum(recording, target, changed, source_layer))
            assert contributions[source.index] == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=1e-4)


@pytest.mark.parametrize(("source_layer", "target_layer"), [(1, 3), (3, 4), (1, 4)])
def test_all_contributions_add_up_to_the_linearized_change_from_the_zero_stream(
    recording: Recording, source_layer: int, target_layer: int
) -> None:
    # From the zero stream to this one, linearized here: the derivative along the stream itself, BOS included.
    targets = strongest(recording, target_layer, 3)
    totals = attribute(recording, targets).upstream[source_layer].total()
    step = 1e-6
    for target, total in zip(targets, totals, strict=True):
        sums = [
            target_sum(
                recording, target, {n: (1 + sign * step) * r for n, r in streams(recording, source_layer).items()},
                source_layer,
            )
            for sign in (1, -1)
        ]  # fmt: skip
        assert total == pytest.approx((sums[0] - sums[1]) / (2 * step), rel=1e-4, abs=1e-6)


def test_per_position_contributions_sum_to_the_features(recording: Recording) -> None:
    attribution = attribute(recording, strongest(recording, 3, 2))
    upstream = attribution.upstream[1]
    assert upstream.values.shape == (2, recording.trace.n_tokens, recording.saes[1].k)
    np.testing.assert_allclose(upstream.by_feature().sum(axis=1), upstream.values.sum(axis=(1, 2)))
    np.testing.assert_allclose(attribution.activation, [recording.trace.column(t).sum() for t in attribution.targets])


def test_a_feature_that_never_fires_contributes_nothing(recording: Recording) -> None:
    silent = np.flatnonzero(~recording.trace.layers[1].dense().any(axis=0))
    assert len(silent)
    by_feature = attribute(recording, strongest(recording, 3, 2)).upstream[1].by_feature()
    assert not by_feature[:, silent].any()
    never = np.flatnonzero(~recording.trace.layers[3].dense().any(axis=0))
    assert not attribute(recording, [Feature(3, int(never[0]))]).upstream[1].by_feature().any()


def test_targets_must_lie_in_one_layer_after_the_first(recording: Recording) -> None:
    for targets in ([Feature(1, 0)], [Feature(3, 0), Feature(4, 0)], [], [Feature(2, 0)]):
        with pytest.raises(TrackerError, match="one SAE layer after the first"):
            attribute(recording, targets)


def from_the_embeddings(
    recording: Recording, model: LanguageModel, source: Feature, targets: list[Feature]
) -> list[float]:
    """Effects by the long way: a whole forward of every window, with the feature removed by a hook."""
    sae = recording.saes[source.layer]
    effects = np.zeros(len(targets))
    for ids in recording.trace.tokens.windows():
        tokens = torch.from_numpy(np.concatenate([[model.bos_id], ids]))[None]

        def take_out(resid: torch.Tensor) -> torch.Tensor:
            top = sae.encode(resid)
            only = TopK(torch.where(top.indices == source.index, top.values, 0), top.indices)
            return resid - (sae.decode(only) - sae.b_dec)

        with torch.inference_mode():
            clean = model.decoder(tokens, output_hidden_states=True, use_cache=False).hidden_states
            with replaced_residual(model.decoder, source.layer, take_out):
                changed = model.decoder(tokens, output_hidden_states=True, use_cache=False).hidden_states
            for number, target in enumerate(targets):
                for states, sign in ((clean, 1), (changed, -1)):
                    top = recording.saes[target.layer].encode(states[target.layer + 1][:, 1:])
                    effects[number] += sign * float(top.values[top.indices == target.index].sum())
    return effects.tolist()


def test_ablation_from_the_recorded_layer_equals_the_same_from_the_embeddings(
    recording: Recording, exact_model: LanguageModel
) -> None:
    sources = strongest(recording, 1, 4) + strongest(recording, 3, 4)
    targets = strongest(recording, 3, 5) + strongest(recording, 4, 5)
    effects = effects_of(list(ablate(recording, sources)), targets)
    assert len(effects) == 4 * 10 + 4 * 5
    assert effects["effect"].abs().max() > 0.01
    for source, rows in effects.groupby(["source_layer", "source_feature"]):
        reached = [Feature(row.target_layer, row.target_feature) for row in rows.itertuples()]
        expected = from_the_embeddings(recording, exact_model, Feature(*source), reached)
        np.testing.assert_allclose(rows["effect"], expected, rtol=1e-5, atol=1e-5)


def test_a_feature_that_never_fires_has_no_effect(recording: Recording) -> None:
    never = np.flatnonzero(~recording.trace.layers[1].dense().any(axis=0))
    (ablation,) = ablate(recording, [Feature(1, int(never[0]))])
    assert not any(effects.any() for effects in ablation.effects.values())


def test_stopping_at_the_next_layer_gives_the_same_effects_there(recording: Recording) -> None:
    sources = strongest(recording, 1, 3)
    for short, whole in zip(ablate(recording, sources, next_layer_only=True), ablate(recording, sources), strict=True):
        assert list(short.effects) == [3]
        assert list(whole.effects) == [3, 4]
        np.testing.assert_allclose(short.effects[3], whole.effects[3])


def test_recording_leaves_no_hook(tiny_trace: Trace, tiny_model: LanguageModel, tiny_saes: dict[int, Sae]) -> None:
    def hooks() -> int:
        return sum(len(block._forward_hooks) + len(block._forward_pre_hooks) for block in tiny_model.decoder.layers)

    before = hooks()
    recording = record(tiny_trace.tokens, tiny_model, tiny_saes)
    assert hooks() == before
    for layer, layer_trace in recording.trace.layers.items():
        np.testing.assert_allclose(layer_trace.dense(), tiny_trace.layers[layer].dense(), rtol=1e-4, atol=1e-4)
