"""What a circuit answers: what feeds a feature, what a feature feeds, what feeds the next word, or the whole text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from feature_tracker.errors import TrackerError
from feature_tracker.feature import Feature
from feature_tracker.tracing.trace import Trace

if TYPE_CHECKING:
    from feature_tracker.tracing.recording import Recording


@dataclass(frozen=True)
class WhatFeeds:
    """What feeds these features?

    Attributes:
        features: all of one layer. Each counts alike, however strongly it fires.
        positions: tokens on which they are asked about; all that count where `None`.
    """

    features: tuple[Feature, ...]
    positions: tuple[int, ...] | None = None


@dataclass(frozen=True)
class WhatItFeeds:
    """What does this feature feed?"""

    feature: Feature


@dataclass(frozen=True)
class NextWord:
    """What feeds the logit of a next word?

    Attributes:
        token: its id.
        against: id of another word, whose logit is taken off; the mean of the vocabulary where `None`.
        position: the token after which the word would stand; the text's last where `None`.
    """

    token: int
    against: int | None = None
    position: int | None = None


Question = WhatFeeds | WhatItFeeds | NextWord


def require_answerable(question: Question, recording: Recording) -> None:
    """Refuse a question that this text can't answer.

    Raises:
        TrackerError: the feature doesn't fire there, lies in the first or last layer where a deeper or an earlier one
            is asked for, or the position isn't in the text.
    """
    trace, layers = recording.trace, recording.layers
    if isinstance(question, NextWord):
        _require_inside(() if question.position is None else (question.position,), trace)
        return
    if isinstance(question, WhatItFeeds):
        if question.feature.layer == layers[-1]:
            raise TrackerError(
                f"{question.feature} lies in the last SAE layer, after which there are no features. Ask what feeds it, "
                "or choose a feature of an earlier layer."
            )
        require_fires(trace, question.feature, None)
        return
    if not question.features:
        raise TrackerError("No feature is chosen. Choose at least one.")
    if len({feature.layer for feature in question.features}) != 1:
        raise TrackerError(f"The features must be of one layer; found {', '.join(map(str, question.features))}.")
    _require_inside(question.positions or (), trace)
    for feature in question.features:
        require_fires(trace, feature, question.positions)


def require_fires(trace: Trace, feature: Feature, positions: tuple[int, ...] | None) -> None:
    """Refuse a feature that is silent.

    Raises:
        TrackerError: it isn't among the SAEs' features, or fires on none of these tokens.
    """
    if feature.layer not in trace.layers or not 0 <= feature.index < trace.layers[feature.layer].n_latents:
        raise TrackerError(f"There is no feature {feature}; the SAEs are of the layers {sorted(trace.layers)}.")
    counted = trace.counted if positions is None else np.array(positions, dtype=np.int64)
    if not trace.column(feature)[counted].any():
        where = "in this text" if positions is None else "on the chosen word"
        raise TrackerError(f"{feature} doesn't fire {where}, so nothing feeds it there. Choose a feature that does.")


def _require_inside(positions: tuple[int, ...], trace: Trace) -> None:
    outside = [position for position in positions if not 0 <= position < trace.n_tokens]
    if outside:
        raise TrackerError(f"Token {outside[0]} is not in this text, which has the tokens 0 to {trace.n_tokens - 1}.")


def token_name(text: str) -> str:
    """What a token is called, as decoded; white space has no look of its own."""
    return text.strip() or ("line break" if "\n" in text else "blank")


def in_words(question: Question, names: dict[Feature, str], token_text: str = "", against_text: str = "") -> str:
    """The question as a reader would ask it.

    Args:
        names: labels of its features.
        token_text: of `NextWord.token`.
        against_text: of `NextWord.against`.
    """
    if isinstance(question, NextWord):
        against = f", and not “{token_name(against_text)}”," if against_text else ""
        return f"What makes “{token_name(token_text)}”{against} the next word?"
    if isinstance(question, WhatItFeeds):
        return f"What does “{names[question.feature]}” feed?"
    if len(question.features) != 1:
        return "What feeds the deepest features of this text?"
    here = "" if question.positions is None else " on this word"
    return f"What feeds “{names[question.features[0]]}”{here}?"
