"""What rules of other lengths, reaches and lexicons would score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from feature_tracker.labels.table import ALWAYS_YES_F1
from feature_tracker.rule_labels.corpus_firings import CorpusFirings
from feature_tracker.rule_labels.firings import Firings
from feature_tracker.rule_labels.label_layer import LayerFirings, score_rule
from feature_tracker.rule_labels.learn import LearnConfig, learn_rule
from feature_tracker.rule_labels.lexicon import Lexicon
from feature_tracker.rule_labels.make_lexicon import LexiconConfig, make_lexicon

_CONFIGS = {
    "2 mentions": LearnConfig(mentions=2),
    "5 mentions": LearnConfig(),
    "12 mentions, each worth 0.0005 of F1": LearnConfig(mentions=12, min_gain=5e-4),
    "5 mentions of the token alone": LearnConfig(where=("token",)),
    "5 mentions of the token and the one before": LearnConfig(where=("token", "previous")),
}


def run_trials(
    corpus: CorpusFirings, lexicon: Lexicon, *, families: Sequence[int], features: int, sample: int, seed: int
) -> Iterator[str]:
    """Rows of a Markdown table: median F1 by layer, and the share of all labels that beat always saying yes.

    Args:
        lexicon: of the rules of other lengths and reaches.
        families: sizes of lexicons to make besides.
    """
    layers = corpus.layers
    n_latents = min(firings.train.n_latents for firings in layers.values())
    latents = np.sort(np.random.default_rng(seed).choice(n_latents, min(features, n_latents), replace=False)).tolist()
    yield f"| rule | {' | '.join(f'layer {layer}' for layer in layers)} | beats guessing |"
    yield "|---" * (len(layers) + 2) + "|"
    any_set = {layer: [_any_set(firings, latent) for latent in latents] for layer, firings in layers.items()}
    yield _row("any set of tokens, which no label could word", any_set)
    trials = [(f"{name}, {len(lexicon.typical_words)} families", config, lexicon) for name, config in _CONFIGS.items()]
    train = [firings.train for firings in layers.values()]
    for n in families:
        config = LexiconConfig(families=n, seed=seed)
        other = make_lexicon(train, corpus.texts, corpus.bos_id, config)
        trials.append((f"5 mentions, {n} families", LearnConfig(), other))
    for name, learn, words in trials:
        f1s = {
            layer: [_f1(layer, firings, latent, words, learn, sample, seed) for latent in latents]
            for layer, firings in layers.items()
        }
        yield _row(name, f1s)


def _row(name: str, f1s: dict[int, list[float]]) -> str:
    medians = " | ".join(f"{np.nanmedian(values):.3f}" for values in f1s.values())
    beats = np.mean([f1 > ALWAYS_YES_F1 for values in f1s.values() for f1 in values])
    return f"| {name} | {medians} | {beats:.1%} |"


def _f1(
    layer: int, firings: LayerFirings, latent: int, lexicon: Lexicon, config: LearnConfig, sample: int, seed: int
) -> float:
    rule = learn_rule(firings.train, latent, lexicon, config, np.random.default_rng([seed, layer, latent]))
    return float("nan") if rule is None else score_rule(rule, firings.held_out, latent, lexicon, sample, seed).f1


def _any_set(firings: LayerFirings, latent: int) -> float:
    """F1 on all held-out positions, weighed as half firing and half silent, of the best set of current tokens."""
    n_tokens = int(max(firings.train.token_ids.max(), firings.held_out.token_ids.max())) + 1
    fired, silent = _shares(firings.train, latent, n_tokens)
    held_fired, held_silent = _shares(firings.held_out, latent, n_tokens)
    f1 = 0.7
    for _ in range(10):  # Dinkelbach's iteration, see `learn._Search`
        chosen = (2 - f1) * fired > f1 * silent
        recall, false_alarms = fired[chosen].sum(), silent[chosen].sum()
        f1 = 2 * recall / (1 + recall + false_alarms)
    recall, false_alarms = held_fired[chosen].sum(), held_silent[chosen].sum()  # pyright: ignore[reportPossiblyUnboundVariable]
    return float(2 * recall / (1 + recall + false_alarms))


def _shares(firings: Firings, latent: int, n_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """(n_tokens,) of the positions that fire, and of those that don't, the share that each token has."""
    current = firings.current
    fired = np.bincount(current[firings.of(latent)[0]], minlength=n_tokens)
    silent = np.bincount(current, minlength=n_tokens) - fired
    return fired / max(1, fired.sum()), silent / max(1, silent.sum())
