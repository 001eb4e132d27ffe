"""Which token a model predicts: its final norm and unembedding."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import nn

from feature_tracker.errors import TrackerError
from feature_tracker.model.forward_queue import FORWARDS
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText

_FINAL_NORMS = ("norm", "ln_f", "final_layernorm", "final_layer_norm")
"""Names of the norm after the last block: Llama, Mistral, Qwen and Gemma; GPT-2; Phi; others."""


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
def next_token(language_model: LanguageModel, tokens: TokenizedText, position: int | None = None) -> NextToken:
    """Predict the token after a text, or after one of its tokens, from the window that this is in."""
    last = tokens.n_tokens - 1 if position is None else position
    start = max(start for start in tokens.window_starts if start <= last)
    window = tokens.ids[start : last + 1]
    bos = [] if language_model.bos_id is None else [language_model.bos_id]
    token_ids = torch.tensor([[*bos, *window.tolist()]], device=language_model.model.device)
    with FORWARDS.job("Predicting the next token", 1) as job, job.turn():
        logits = language_model.model(input_ids=token_ids, use_cache=False, logits_to_keep=1).logits[0, -1]
    probability, best = logits.float().softmax(dim=-1).max(dim=-1)
    return NextToken(int(best), str(language_model.tokenizer.decode([int(best)])), float(probability))


def final_norm(language_model: LanguageModel) -> nn.Module:
    """The norm between the last block and the unembedding.

    Raises:
        TrackerError: the model's is not known.
    """
    for name in _FINAL_NORMS:
        norm = getattr(language_model.decoder, name, None)
        if isinstance(norm, nn.Module):
            return norm
    raise TrackerError(
        f"{type(language_model.decoder).__name__} has its final norm under none of the names "
        f"{', '.join(_FINAL_NORMS)}, so its stream can't be read as tokens."
    )


def logits_of(language_model: LanguageModel, resid: torch.Tensor) -> torch.Tensor:
    """(..., n_vocabulary) float32 logits of streams (..., d_model) after the last block. Gradients flow back.

    Raises:
        TrackerError: the model's final norm is not known.
    """
    head = language_model.model.get_output_embeddings()
    logits = cast(nn.Module, head)(final_norm(language_model)(resid)).float()
    cap = getattr(language_model.model.config.get_text_config(), "final_logit_softcapping", None)  # Gemma 2 and 3
    return logits if not cap else cap * (logits / cap).tanh()


def token_of(language_model: LanguageModel, word: str) -> int:
    """The id of a word that stands after a space and is one token.

    Raises:
        TrackerError: it is blank, or several tokens.
    """
    tokenizer = language_model.tokenizer
    ids = tokenizer.encode(f" {word.strip()}", add_special_tokens=False) if word.strip() else []
    if ids and not str(tokenizer.decode(ids[:1])).strip():  # some tokenizers keep the space apart
        ids = ids[1:]
    if len(ids) != 1:
        pieces = ", ".join(repr(str(tokenizer.decode([number]))) for number in ids) or "nothing"
        raise TrackerError(
            f"The next word must be one token of this model; {word.strip()!r} is {pieces}. Give a shorter or more "
            "frequent word, or the first of these pieces."
        )
    return int(ids[0])
