"""Which token a model predicts after a text."""

from __future__ import annotations

from typing import NamedTuple

import torch

from feature_tracker.model.forward_queue import FORWARDS
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText


class NextToken(NamedTuple):
    """The most probable next token.

    Attributes:
        id: in the vocabulary.
        text: what the token reads.
        probability: from 0 to 1.
    """

    id: int
    text: str
    probability: float


@torch.inference_mode()
def next_token(language_model: LanguageModel, tokens: TokenizedText) -> NextToken:
    """Predict the token after a text, from its last window."""
    window = tokens.ids[tokens.window_starts[-1] :]
    bos = [] if language_model.bos_id is None else [language_model.bos_id]
    token_ids = torch.tensor([[*bos, *window.tolist()]], device=language_model.model.device)
    with FORWARDS.job("Predicting the next token", 1) as job, job.turn():
        logits = language_model.model(input_ids=token_ids, use_cache=False, logits_to_keep=1).logits[0, -1]
    probability, best = logits.float().softmax(dim=-1).max(dim=-1)
    return NextToken(int(best), str(language_model.tokenizer.decode([int(best)])), float(probability))
