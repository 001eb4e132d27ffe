"""What a model expects after a text."""

from __future__ import annotations

from typing import NamedTuple

import torch

from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText


class NextToken(NamedTuple):
    """The most probable next token: its id, how it reads, and its probability."""

    id: int
    text: str
    probability: float


@torch.inference_mode()
def next_token(language_model: LanguageModel, tokens: TokenizedText) -> NextToken:
    """What the model most expects after the last window of a text."""
    last = list(tokens.windows())[-1]
    row = torch.tensor([[language_model.bos_id, *last.tolist()]], device=language_model.model.device)
    logits = language_model.model(input_ids=row, use_cache=False, logits_to_keep=1).logits[0, -1]
    probability, best = logits.float().softmax(dim=-1).max(dim=-1)
    return NextToken(int(best), str(language_model.tokenizer.decode([int(best)])), float(probability))
