"""Label every feature of every layer."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import pandas as pd

from feature_tracker.labels.columns import KEYS, REQUIRED
from feature_tracker.labels.scores import UNSCORED, Scores
from feature_tracker.rule_labels.context_likeness import ContextLikeness
from feature_tracker.rule_labels.firings import Firings
from feature_tracker.rule_labels.learn import LearnConfig, learn_rule
from feature_tracker.rule_labels.lexicon import Lexicon
from feature_tracker.rule_labels.rules import Rule, fires, rule_from_json, rule_to_json, rule_to_text
from feature_tracker.rule_labels.score import balanced_sample, score
from feature_tracker.rule_labels.wording import firing_on_shown, show_words, word_rates

log = logging.getLogger(__name__)

METHOD = "lexical"
"""How the F1 in the table comes about: a program applies the rule that the label words."""
_UNASKED = UNSCORED._replace(n_positive=0, n_negative=0)


class LayerFirings(NamedTuple):
    """Where a layer's features fire on the text that labels are learnt from, and on held-out text."""

    train: Firings
    held_out: Firings


def log_times() -> None:
    """Log with the time of day, here and in the processes that label."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


def label_layers(
    layers: Mapping[int, LayerFirings], lexicon: Lexicon, config: LearnConfig, *, sample: int, seed: int, jobs: int
) -> pd.DataFrame:
    """Rows of a label table for every feature of every layer, `jobs` layers at a time, each in a process."""
    label = partial(label_layer, lexicon=lexicon, config=config, sample=sample, seed=seed)
    with ProcessPoolExecutor(jobs, get_context("spawn"), log_times) as pool:
        return pd.concat(pool.map(label, layers, layers.values()))


def label_layer(
    layer: int, firings: LayerFirings, lexicon: Lexicon, config: LearnConfig, *, sample: int, seed: int
) -> pd.DataFrame:
    """Rows of a label table for every feature of a layer, in order.

    Args:
        sample: held-out firing tokens that a rule is scored on, and as many silent ones.
    """
    rows, start = [], time.monotonic()
    rates = word_rates(firings.train, lexicon)
    for latent in range(firings.train.n_latents):
        rule = learn_rule(firings.train, latent, lexicon, config, np.random.default_rng([seed, layer, latent]))
        if rule is not None:
            rule = show_words(rule, latent, rates, lexicon)
        scores = _UNASKED if rule is None else score_rule(rule, firings.held_out, latent, lexicon, sample, seed)
        rule_text = "" if rule is None else rule_to_json(rule)
        rows.append({"label": rule_to_text(rule), **scores._asdict(), "rule": rule_text})
        if (latent + 1) % 50 == 0:
            log.info("layer %d: %d features labelled, %.0f s", layer, latent + 1, time.monotonic() - start)
    frame = pd.concat([pd.DataFrame(rows), firings.train.statistics()], axis=1)
    frame = frame.assign(layer=layer, feature=range(firings.train.n_latents), f1_method=METHOD)
    return frame[[*KEYS, *REQUIRED]]


def reword_layer(rows: pd.DataFrame, firings: LayerFirings, lexicon: Lexicon) -> tuple[pd.DataFrame, float, float]:
    """A layer's rows with labels that show the words on which their features fire on the training text.

    Args:
        rows: of a label table, indexed by the feature's index.

    Returns:
        The rows, and how often on held-out text features fire on the words that their labels showed, and show now.
    """
    rates, held_out = word_rates(firings.train, lexicon), word_rates(firings.held_out, lexicon)["token"]
    old = {int(str(latent)): rule_from_json(text) for latent, text in rows["rule"].items() if text}
    new = {latent: show_words(rule, latent, rates, lexicon) for latent, rule in old.items()}
    rows = rows.copy()
    rows.loc[list(new), "label"] = list(map(rule_to_text, new.values()))
    rows.loc[list(new), "rule"] = list(map(rule_to_json, new.values()))
    return rows, firing_on_shown(old, held_out, lexicon), firing_on_shown(new, held_out, lexicon)


def score_rule(rule: Rule, firings: Firings, latent: int, lexicon: Lexicon, n: int, seed: int) -> Scores:
    """A rule's score on a balanced sample of at most n firing positions."""
    sample = balanced_sample(firings, latent, n, np.random.default_rng([seed, latent]))
    return score(fires(rule, ContextLikeness(firings.token_ids, sample.positions, lexicon), lexicon), sample.fires)
