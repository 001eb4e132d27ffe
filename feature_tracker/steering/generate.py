"""A text's continuation, token by token, as a model writes it steered and unsteered."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache

from feature_tracker.errors import TrackerError
from feature_tracker.model.forward_queue import FORWARDS
from feature_tracker.model.hooks import ReplaceResid, replaced_residual
from feature_tracker.model.load import LanguageModel
from feature_tracker.model.tokens import TokenizedText, tokenize
from feature_tracker.sae.topk import Sae
from feature_tracker.steering.recipe import Recipe
from feature_tracker.tracing.trace import Trace

MOST_TOKENS = 200
HOTTEST = 2.0
LARGEST_SEED = 2**32 - 1
_GREEDY = 1e-3  # temperatures below choose as 0 does, and would divide by what float32 can't hold


@dataclass(frozen=True)
class Sampling:
    """How next tokens are chosen.

    Attributes:
        n_tokens: written at most, fewer where the model ends its text; 1 to `MOST_TOKENS`.
        seed: of the random choices.
        temperature: 0 takes the most probable token, 1 draws from the model's probabilities; at most `HOTTEST`.

    Raises:
        TrackerError: a value is out of range.
    """

    n_tokens: int = 40
    seed: int = 0
    temperature: float = 0.8

    def __post_init__(self) -> None:
        limits = {"n_tokens": (1, MOST_TOKENS), "seed": (0, LARGEST_SEED), "temperature": (0, HOTTEST)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:  # NaN isn't, either
                raise TrackerError(f"{name} must be from {low} to {high:,}; found {getattr(self, name):g}.")


@dataclass(frozen=True)
class Steering:
    """A recipe with the weights that it needs.

    Attributes:
        recipe: what is added where.
        saes: by layer.
    """

    recipe: Recipe
    saes: Mapping[int, Sae]

    @contextlib.contextmanager
    def applied(self, decoder: nn.Module, *, first: int) -> Generator[None]:
        """Steer the one forward that this thread runs in the body of the `with` statement.

        Args:
            first: position that isn't BOS; 0 where the forward continues a cache.
        """
        fires: list[torch.Tensor] = []  # (1, positions, 1) where the condition holds, once its layer has run
        with contextlib.ExitStack() as hooks:
            for layer in self.recipe.layers:
                hooks.enter_context(replaced_residual(decoder, layer, self._change(layer, fires), first=first))
            yield

    def _change(self, layer: int, fires: list[torch.Tensor]) -> ReplaceResid:
        sae, only_where = self.saes[layer], self.recipe.only_where
        added = sum(
            (one.amount * sae.decoder[one.latent] for one in self.recipe.features if one.layer == layer),
            start=torch.zeros_like(sae.b_dec),
        )

        def change(resid: torch.Tensor) -> torch.Tensor:
            if only_where is None:
                return resid + added
            if only_where.layer == layer:  # read before this layer is steered
                top = sae.encode(resid)
                fires[:] = [((top.indices == only_where.latent) & (top.values > 0)).any(dim=-1, keepdim=True)]
            return resid + added * fires[0].to(resid.device)

        return change


class Continuation(NamedTuple):
    """What a model wrote after a prompt.

    Attributes:
        ids: of its tokens.
        text: what they read.
    """

    ids: tuple[int, ...] = ()
    text: str = ""


class SideBySide(NamedTuple):
    """Two continuations of one prompt, drawn with the same random numbers, so that steering alone sets them apart."""

    unsteered: Continuation = Continuation()
    steered: Continuation = Continuation()


def read_prompt(prompt: str, language_model: LanguageModel, *, window: int, n_tokens: int) -> TokenizedText:
    """A prompt's tokens, without spaces at its end: a model writes the space before a word itself.

    Args:
        window: longest forward, BOS included.
        n_tokens: that will be written after it.

    Raises:
        TrackerError: the prompt is blank, or too long for a window together with what will be written.
    """
    if not prompt.strip():
        raise TrackerError("There is no prompt yet. Write the beginning of a text, which the model is to go on with.")
    tokens = tokenize(prompt.rstrip(" "), language_model.tokenizer, window=window, max_tokens=10**9)
    over = tokens.n_tokens + n_tokens - (window - 1)
    if over > 0:
        raise TrackerError(
            f"The prompt has {tokens.n_tokens:,} tokens, and {n_tokens:,} are to be written: {over:,} more than the "
            f"{window - 1:,} that the model reads at once. Shorten the prompt, or let fewer tokens be written."
        )
    return tokens


def side_by_side(
    language_model: LanguageModel, prompt: TokenizedText, steering: Steering, sampling: Sampling
) -> Generator[SideBySide]:
    """Continue a prompt unsteered and steered, a token of each at a time, from none on.

    Each forward is steered on its own: between two steps, and when the generator is closed, nothing is left behind.
    """
    ids: tuple[list[int], list[int]] = [], []
    yield SideBySide(*(_continuation(language_model, prompt, own) for own in ids))
    streams = (_next_ids(language_model, prompt, applied, sampling) for applied in (None, steering))
    for step in zip_longest(*streams):
        for own, number in zip(ids, step, strict=True):
            own += [] if number is None else [number]
        yield SideBySide(*(_continuation(language_model, prompt, own) for own in ids))


def _next_ids(
    language_model: LanguageModel, prompt: TokenizedText, steering: Steering | None, sampling: Sampling
) -> Generator[int]:
    cache = DynamicCache(config=language_model.model.config)
    noise = torch.Generator().manual_seed(sampling.seed)
    ends = _end_ids(language_model)
    fed = prompt.ids.tolist()
    for _ in range(sampling.n_tokens):
        logits = run_steered(language_model, torch.tensor([fed]), steering, keep=1, cache=cache)[0, 0]
        chosen = _choose(logits, sampling.temperature, noise)
        if chosen in ends:
            return
        yield chosen
        fed = [chosen]


@torch.inference_mode()
def run_steered(
    language_model: LanguageModel,
    token_ids: torch.Tensor,
    steering: Steering | None,
    *,
    keep: int,
    cache: DynamicCache | None = None,
) -> torch.Tensor:
    """(n, keep, n_vocabulary) float32 logits of the last `keep` positions, on the CPU.

    Args:
        token_ids: (n, positions) int64, without the BOS that starts a window.
        steering: `None` for the model as it is.
        cache: keys and values of what came before; those of `token_ids` are added to it. A text begins where it is
            empty or `None`.

    Raises:
        TrackerError: the numbers are beyond the model's dtype.
    """
    begins = cache is None or cache.get_seq_length() == 0
    bos_id = language_model.bos_id if begins else None
    if bos_id is not None:
        token_ids = nn.functional.pad(token_ids, (1, 0), value=bos_id)
    first = 0 if bos_id is None else 1
    applied = contextlib.nullcontext() if steering is None else steering.applied(language_model.decoder, first=first)
    with FORWARDS.job("Writing", 1) as job, job.turn(), applied:
        output = language_model.model(
            input_ids=token_ids.to(language_model.model.device),
            cache=cache,
            use_cache=cache is not None,
            logits_to_keep=keep,
        )
    logits = output.logits.float().cpu()
    if logits.isnan().any():
        raise TrackerError(
            "The model gives numbers that are not finite. Choose weaker strengths; if that doesn't help, set the "
            "bundle's dtype to bfloat16 or float32."
        )
    return logits


def perplexity(language_model: LanguageModel, prompt: TokenizedText, ids: Sequence[int]) -> float:
    """How surprising the unsteered model finds a token of a continuation: exp of the mean of -ln p(token).

    NaN for a continuation without tokens. A model that chose evenly among n tokens each time would have n.
    """
    if not ids:
        return math.nan
    token_ids = torch.tensor([[*prompt.ids.tolist(), *ids]])
    logits = run_steered(language_model, token_ids, None, keep=len(ids) + 1)[0, :-1]
    return float(nn.functional.cross_entropy(logits, torch.tensor(ids)).exp())


def surprise_in_words(unsteered: float, steered: float) -> str:
    """What the perplexities of two continuations under the unsteered model say."""
    times = steered / unsteered
    if math.isnan(times):
        return "Nothing was written, so there is nothing to compare."
    if 0.9 < times < 1.1:
        return "The unsteered model finds this no more and no less surprising than its own text."
    return (
        f"The unsteered model finds this {times:,.{0 if times >= 10 else 1}f} times as surprising a token as its own."
    )


def continuation_positions(trace: Trace, start: int) -> np.ndarray:
    """The positions of a trace that belong to what begins at the character `start`, and count in rankings."""
    ours = np.flatnonzero(trace.tokens.offsets[:, 1] > start)
    counted = np.intersect1d(ours, trace.counted)
    return counted if len(counted) else ours


def _choose(logits: torch.Tensor, temperature: float, noise: torch.Generator) -> int:
    if temperature < _GREEDY:
        return int(logits.argmax())
    return int(torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=noise))


def _end_ids(language_model: LanguageModel) -> set[int]:
    """Tokens that end a text. BOS, which would begin another one, is among them, so none is written or steered."""
    stated: Any = language_model.model.generation_config.eos_token_id
    tokenizer = language_model.tokenizer
    ends: list[Any] = [
        *(stated if isinstance(stated, list) else [stated]),
        tokenizer.eos_token_id,
        tokenizer.bos_token_id,
    ]
    return {number for number in ends if number is not None}


def _continuation(language_model: LanguageModel, prompt: TokenizedText, ids: Sequence[int]) -> Continuation:
    """Tokens are read together with the prompt: alone, some tokenizers would drop the first one's space."""
    before = prompt.ids.tolist()
    texts = [
        str(language_model.tokenizer.decode(part, clean_up_tokenization_spaces=False))
        for part in (before, [*before, *ids])
    ]
    return Continuation(tuple(ids), texts[1][len(texts[0]) :])
