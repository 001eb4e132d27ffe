"""How probable chosen words are as the next ones, from no steering to strong steering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import torch

from feature_tracker.errors import TrackerError
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.steering.generate import Steering, run_steered

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0)
MOST_WORDS = 8
_LIKELIEST = 3


class NextWord(NamedTuple):
    """A word that a text could go on with.

    Attributes:
        text: as it is written, without the space before it.
        ids: its tokens after the prompt, at least one.
    """

    text: str
    ids: tuple[int, ...]


def sweep(
    language_model: LanguageModel,
    prompt: TokenizedText,
    steering: Steering,
    words: Sequence[str] = (),
    strengths: Sequence[float] = STRENGTHS,
) -> pd.DataFrame:
    """The probability that the prompt goes on with each word, at each strength.

    Args:
        words: at most `MOST_WORDS`. A word counts also as the beginning of a longer one. Where there are none, the
            tokens are taken that are likeliest unsteered, and at the recipe's own strengths.
        strengths: the recipe is scaled to each, see `Recipe.at`.

    Returns:
        `strength, word, probability`, a row for each pair.

    Raises:
        TrackerError: there are too many words, a strength is out of range, or a word's tokens can't be told from the
            prompt's.
    """
    if len(words) > MOST_WORDS:
        raise TrackerError(f"At most {MOST_WORDS} words are followed at once; found {len(words)}. Take some out.")
    chosen = [_next_word(language_model, prompt, word) for word in dict.fromkeys(words)]
    chosen = chosen or _likeliest(language_model, prompt, steering)
    rows = []
    for strength in strengths:
        scaled = replace(steering, recipe=steering.recipe.at(strength))
        probabilities = _probabilities(language_model, prompt, chosen, scaled)
        rows += [(strength, word.text, p) for word, p in zip(chosen, probabilities, strict=True)]
    return pd.DataFrame(rows, columns=["strength", "word", "probability"])


def _next_word(language_model: LanguageModel, prompt: TokenizedText, word: str) -> NextWord:
    before = prompt.text
    together = before + ("" if before[-1].isspace() else " ") + word
    ids = tokenize(together, language_model.tokenizer, window=prompt.window, max_tokens=10**9).ids.tolist()
    n_before = prompt.n_tokens
    if ids[:n_before] != prompt.ids.tolist() or not n_before < len(ids) < prompt.window:
        raise TrackerError(
            f"{word!r} can't be followed after this prompt: with it, the prompt's last word becomes other tokens, or "
            "both are too long. Choose another word, or end the prompt elsewhere."
        )
    return NextWord(word, tuple(ids[n_before:]))


def _likeliest(language_model: LanguageModel, prompt: TokenizedText, steering: Steering) -> list[NextWord]:
    token_ids = torch.from_numpy(prompt.ids)[None]
    both = [run_steered(language_model, token_ids, applied, keep=1)[0, 0] for applied in (None, steering)]
    ids = dict.fromkeys(number for logits in both for number in logits.topk(_LIKELIEST).indices.tolist())
    words = [NextWord(str(language_model.tokenizer.decode([number])).removeprefix(" "), (number,)) for number in ids]
    return list({word.text: word for word in reversed(words)}.values())[::-1]  # of “ the” and “the”, the likelier


def _probabilities(
    language_model: LanguageModel, prompt: TokenizedText, words: Sequence[NextWord], steering: Steering
) -> list[float]:
    beginnings = sorted({word.ids[:-1] for word in words})  # most words are one token, and share the empty one
    longest = max(map(len, beginnings))
    padded = [[*prompt.ids.tolist(), *beginning, *[0] * (longest - len(beginning))] for beginning in beginnings]
    logs = run_steered(language_model, torch.tensor(padded), steering, keep=longest + 1).log_softmax(dim=-1)
    rows = [logs[beginnings.index(word.ids[:-1])] for word in words]
    return [float(row[range(len(word.ids)), word.ids].sum().exp()) for row, word in zip(rows, words, strict=True)]
